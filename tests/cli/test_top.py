"""`turnout top`: what is drawn, what keys do, and the real thing on a pseudo-terminal."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.top.view import COLUMNS, View, drawn, in_order
from tests.cli.conftest import Installation, Run


def model(name: str, per_s: float, **other: Any) -> dict[str, Any]:
    row = {
        "version": "1", "role": "primary", "per_s": per_s, "requests": 100, "failed": 3,
        "errors": {"no_workers": 3}, "latency": {"p50_us": 1500.0, "p99_us": 20_000.0},
        "quality": {"metric": "accuracy", "value": 0.84, "low": 0.82, "high": 0.86, "n": 1000},
    }  # fmt: skip
    return {
        "model": name, "revision": 7, "has_route": True, "is_readable": True, "per_s": per_s, "requests": 100,
        "failed": 3, "error_share": 0.03, "latency": row["latency"], "versions": [row], "rollout": None,
        "split": [{"version": "1", "weight": 90.0}, {"version": "2", "weight": 10.0}], "shadows": [],
        "workers_ready": 1, "workers_wanted": 2,
        "pools": [{"version": "1", "ready": 1, "wanted": 2, "is_short": True}], **other,
    }  # fmt: skip


MODELS = [model("ants", 5.0), model("bees", 50.0), model("a-model-with-a-long-name", 0.0)]


def lines(
    view: View, *, width: int, models: list[dict[str, Any]] | None = None, height: int = 24
) -> list[str]:
    console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    seen = {"revision": 7, "left_out": 0, "models": MODELS if models is None else models}
    console.print(drawn(seen, view, width=width, height=height))
    console.file.close()
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 140])
def test_all_of_it_fits_into_a_terminal(width: int) -> None:
    rollout = {
        "phase": "running", "is_over": False, "step": 1, "steps": 5, "baseline": "1", "candidate": "2",
        "sentence": "waits for labels",
    }  # fmt: skip
    shown = lines(View(), width=width, models=[*MODELS, model("digits", 1234.5, rollout=rollout)])
    assert all(len(line) <= width for line in shown)
    bees = next(line for line in shown if line.startswith("bees"))
    for words in ("50.0", "90/10", "3.0%", "1.5ms", "20ms", "84.0", "1/2"):
        assert words in bees
    assert "2/5" in next(line for line in shown if line.startswith("digits"))


def test_keys_choose_sort_open_and_go_back() -> None:
    view = View()
    assert [one["model"] for one in in_order(MODELS, view)] == ["a-model-with-a-long-name", "ants", "bees"]
    view = view.after("right", MODELS)
    assert in_order(MODELS, view)[0]["model"] == "bees"
    view = view.after("down", MODELS)
    assert view.selected == "ants"
    assert view.after("r", MODELS).is_reversed
    inside = view.after("enter", MODELS)
    assert any("no_workers 3" in line for line in lines(inside, width=80))
    assert lines(inside, width=80)[0].startswith("ants, revision 7")
    assert not inside.after("escape", MODELS).is_inside
    assert view.after("left", MODELS).after("left", MODELS).sort == len(COLUMNS) - 1


def test_the_order_is_marked_apart_from_the_column_s_name() -> None:
    assert "model▾" in lines(View(), width=80)[2]
    assert "req/s▴" in lines(View(sort=1, is_reversed=True), width=80)[2]


def test_many_models_scroll_with_the_chosen_one() -> None:
    many = [model(f"m{number:03}", 1.0) for number in range(100)]
    shown = lines(View(selected="m050"), width=80, models=many, height=15)
    assert len(shown) <= 15
    assert any(line.startswith("m050") for line in shown)


def test_nothing_to_show_is_said() -> None:
    assert any("no model is registered" in line for line in lines(View(), width=80, models=[]))


@pytest.mark.usefixtures("installation")
def test_machines_get_it_once(run: Run) -> None:
    (found,) = json.loads(run("top", "--once", "--json").out)["models"]
    assert (found["model"], found["workers_ready"]) == ("digits", 3)
    shown = run("top", "--once").out.splitlines()
    assert shown[1].startswith("digits")
    refused = run("top")
    assert (refused.code, "--once" in refused.err) == (2, True)


def test_on_a_terminal_it_follows_keys_resizes_and_leaves_the_terminal_as_it_was(
    installation: Installation,
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "gateway.cli.main", "top"])
    seen = Seen(terminal)
    resize(terminal, 80)
    seen.until("digits")
    os.write(terminal, b"\r")
    seen.until("escape goes back")
    resize(terminal, 60)
    os.write(terminal, b"\x1b")
    seen.until("q ends  up/down")
    os.write(terminal, b"q")
    seen.until("\x1b[?1049l")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


class Seen:
    """What the program has drawn since the last question."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal

    def until(self, words: str, *, within_s: float = 60.0) -> None:
        text, until_s = "", time.monotonic() + within_s
        while words not in text and words not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text):
            assert time.monotonic() < until_s, f"{words!r} is not in {text!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                text += os.read(self.terminal, 65536).decode(errors="replace")


def resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
