"""The processes: gateways and the revision they serve, pools and their workers."""

from typing import Any

from nicegui import ui

from gateway.console.api import path_of
from gateway.console.ask import act
from gateway.console.look import frame
from gateway.console.pieces import (
    Moment,
    Section,
    badge,
    button,
    card,
    command_line,
    empty,
    heading,
    link,
    set_command,
    table,
    text,
)
from gateway.console.place import Place, Watch, session_of_page
from gateway.console.words import command, duration, pool_kind, pool_reason, pool_words

# how workers are kept -> (in words, the option of the command)
_KEEPS = {
    "needed": ("while something needs them", "--when-needed"),
    "always": ("always", "--always"),
}


def install(place: Place) -> None:
    @ui.page("/fleet")
    async def show() -> None:
        await _Fleet(Watch(place, session_of_page())).build()


class _Fleet:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def build(self) -> None:
        await self._watch.first_of({"/gateways": 1.0, "/pools": 2.0})
        with frame("Fleet", "/fleet") as self._banner:
            heading("Fleet", 1)
            with card("Gateways"):
                self._gateways = Section(_gateways)
                command_line("turnout gateways")
            with card("Pools"):
                text("A pool has workers while something needs it: the grey words say what.", "soft", "p")
                self._pools = Section(_pools)
                command_line("turnout pools")
            self._scaling = Section(self._draw_scaling)
        self.update()
        ui.timer(1.0, self.update)

    def update(self) -> None:
        gateways, pools = self._watch.want("/gateways"), self._watch.want("/pools", every_s=2.0)
        self._banner.show(gateways, pools)
        if gateways.data is not None:
            told = [{**gateway, "seen_ms": 0, "at_ms": 0} for gateway in gateways.data["gateways"]]
            self._gateways.show({**gateways.data, "gateways": told})
        if pools.data is not None:
            self._pools.show([_calm(pool) for pool in pools.data["pools"]])
            self._scaling.show(
                [(pool["model"], pool["version"], pool["size"], pool["keep"]) for pool in pools.data["pools"]]
            )

    def _draw_scaling(self, pools: list[tuple[str, str, int | None, str | None]]) -> None:
        if not pools:
            return
        wishes = {
            f"{model} {version}": (model, version, size or 0, keep) for model, version, size, keep in pools
        }
        first = next(iter(wishes))

        def words() -> str:
            model, version, _, before = wishes[str(pool.value)]
            kept = () if keep.value == before else (_KEEPS[str(keep.value)][1],)
            return command("pools", "scale", model, version, int(count.value or 0), *kept)

        async def scale() -> None:
            model, version, *_ = wishes[str(pool.value)]
            path = path_of("models", model, "versions", version, "workers")
            body = {"workers": int(count.value or 0), "keep": keep.value}
            kept = _KEEPS[str(keep.value)][0]
            await act(
                lambda: self._watch.put(path, body),
                done=f"{pool.value} shall have {body['workers']} workers, {kept}",
            )

        def choose() -> None:
            count.set_value(wishes[str(pool.value)][2])
            keep.set_value(wishes[str(pool.value)][3] or "needed")

        with card("How many workers"):
            text("So many on each machine with a supervisor.", "soft", "p")
            with ui.element("div").classes("row-of"):
                pool = ui.select(list(wishes), value=first, label="Pool").props("dense outlined")
                count = ui.number("Workers", min=0, max=64, step=1, precision=0).props("dense outlined")
                shown = {name: words for name, (words, _) in _KEEPS.items()}
                keep = ui.select(shown, label="Kept").props("dense outlined")
                choose()
                button("Scale", scale)
            line = command_line(words())
        pool.on_value_change(choose)
        for field in (pool, count, keep):
            field.on_value_change(lambda _: set_command(line, words()))


def _calm(pool: dict[str, Any]) -> dict[str, Any]:
    """Ages in steps, so that the table is not drawn anew every second."""
    workers = [
        {**worker, "age_s": 10 * (worker["age_s"] // 10), "seen_s_ago": 5 * (worker["seen_s_ago"] // 5)}
        for worker in pool["workers"]
    ]
    stops = pool["stops_in_s"]
    return {**pool, "workers": workers, "stops_in_s": None if stops is None else 60 * (stops // 60 + 1)}


def _gateways(found: dict[str, Any]) -> None:
    if not found["gateways"]:
        empty("No gateway is running: nobody answers predictions.", "Start one.", "turnout gateway")
        return

    def state(gateway: dict[str, Any]) -> Any:
        def draw() -> None:
            if gateway["is_behind"]:
                badge(f"behind: {gateway['revision']} of {found['revision']}", "bad")
            elif gateway["problems"]:
                badge(f"{gateway['problems']} bad documents", "bad")
            else:
                badge("serves the newest", "good")

        return draw

    def started(gateway: dict[str, Any]) -> Any:
        def draw() -> None:
            Moment(gateway["started_ms"])

        return draw

    table(
        ["Gateway", "Address", "State", "Revision>", "Running since"],
        [
            [item["gateway_id"], item["address"], state(item), item["revision"], started(item)]
            for item in found["gateways"]
        ],
        label="Gateways",
    )


def _pools(pools: list[dict[str, Any]]) -> None:
    if not pools:
        empty(
            "There is no pool yet: a registered version has one.",
            "",
            "turnout model register MODEL --version 1 --from model.onnx --workers 1",
        )
        return
    table(
        ["Model", "Version", "State", "Workers"],
        [[_name(pool), pool["version"], _state(pool), _workers(pool["workers"])] for pool in pools],
        label="Pools",
    )


def _name(pool: dict[str, Any]) -> Any:
    def draw() -> None:
        link(pool["model"], path_of("models", pool["model"]))

    return draw


def _state(pool: dict[str, Any]) -> Any:
    def draw() -> None:
        with ui.element("div").classes("badges"):
            badge(pool_words(pool), pool_kind(pool))
            if pool["is_stuck"]:
                badge("stuck", "bad")
            if not pool["is_registered"]:
                badge("not registered", "warn")
        text(pool_reason(pool), "soft", "div")
        for lack in pool["lacks"] if pool["is_short"] else ():
            text(lack, "error", "div")
        if not pool["ready"] and pool["size"]:
            command_line(command("pools", "start", pool["model"], pool["version"]))

    return draw


def _workers(workers: list[dict[str, Any]]) -> Any:
    def draw() -> None:
        for worker in workers:
            with ui.element("div"):
                aged = f"{duration(worker['age_s'])} old"
                text(f"{worker['address']} {worker['state']}, {aged}, process {worker['pid']}")
                if worker["problem"]:
                    text(f" – {worker['problem']}", "badge bad")
        if not workers:
            text("none", "soft")

    return draw
