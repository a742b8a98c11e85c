"""`turnout audit`: who changed what, what was live then, and is the record whole?"""

import base64
import datetime
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.audit.report import report
from gateway.cli.grammar import WithDefault, reading
from gateway.cli.session import Session, operator
from gateway.cli.words import document_lines, moment
from gateway.contract.errors import CallerError, TurnoutError
from gateway.core.chain import Head, Walk

_AGO = re.compile(r"([0-9]+)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class _OrLog(WithDefault):
    default = "log"


@click.group(cls=_OrLog)
def audit() -> None:
    """Who changed what, when and why; what was live; is the record whole?"""


audit.add_command(report)


@audit.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True)
@click.option("--model", help="Only changes of this model.")
@click.option("--author", help="Only changes by this key or person.")
@click.option("--since", metavar="TIME", help="2026-11-25, 2026-11-25T10:30, or 90m, 12h, 7d ago.")
@reading
@operator
def log(session: Session, limit: int, model: str | None, author: str | None, since: str | None) -> int:
    """Every change, newest first."""
    since_ms = None if since is None else _ms(since)
    found = session.client.get("audit", limit=limit, model=model, author=author, since_ms=since_ms)
    _tell(session, found)
    return 0


@audit.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True)
@click.option("--model", help="Only changes of this model.")
@click.option("--since", metavar="TIME", help="2026-11-25, 2026-11-25T10:30, or 90m, 12h, 7d ago.")
@reading
@operator
def overrides(session: Session, limit: int, model: str | None, since: str | None) -> int:
    """Changes that somebody forced, and what stood against them."""
    since_ms = None if since is None else _ms(since)
    found = session.client.get("audit", limit=limit, model=model, since_ms=since_ms, forced=True)
    _tell(session, found)
    return 0


@audit.command()
@click.argument("revision", type=click.IntRange(min=1))
@reading
@operator
def show(session: Session, revision: int) -> int:
    """One change in full: before, after, who, why."""
    found = session.client.get("audit", "entries", str(revision))
    session.out.value(found)
    out = session.out
    by = f"{found['author']}{' (key ' + found['key_id'] + ')' if found['key_id'] else ''}"
    out.line(f"revision {revision}, {moment(found['at_ms'])}, by {by}")
    out.line(f"  reason     {found['reason'] or 'none given'}")
    out.line(f"  request    {found['request_id'] or 'none'}")
    if found["forced"]:
        out.line(f"  forced     {found['forced']}")
    for change in found["changes"]:
        out.line(f"  {change['field']}, before it revision {change['previous']}")
        for difference in change.get("differences", ()):
            out.line(f"    {difference}")
        if change.get("is_kept") is False:
            out.line("    its documents are not in the history any more")
        if change.get("fits") is False:
            out.failure(f"what the history holds of {change['field']} is not what was committed then")
    return 1 if any(change.get("fits") is False for change in found["changes"]) else 0


@audit.command()
@click.argument("time", metavar="TIME")
@click.option("--model", help="Of this model only.")
@reading
@operator
def at(session: Session, time: str, model: str | None) -> int:
    """What was live at a time, and for whom.

    turnout audit at 2026-11-25T10:30 --model digits
    """
    found = session.client.get("audit", "at", at_ms=_ms(time), model=model)
    session.out.value(found)
    for route in found["routes"]:
        _tell_route(session, route)
    if not found["routes"]:
        session.out.line("there was no route")
    if found["left_out"]:
        session.out.warning(f"{found['left_out']} more models are left out: name one with --model")
    return 0


@audit.command()
@click.option(
    "--head", "path", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="A head that was kept elsewhere (`turnout audit head > FILE`): what it covers must still be there.",
)  # fmt: skip
@click.option("--from-head", is_flag=True, help="Entries before a head may have been trimmed.")
@click.option(
    "--file", "exported", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Verify what `turnout audit export` wrote, against its last line or --head; asks no server.",
)  # fmt: skip
@reading
@operator
def verify(session: Session, path: Path | None, from_head: bool, exported: Path | None) -> int:
    """Was an entry changed, removed, added or moved? Exit code 1 if so."""
    head = None if path is None else _read_head(path)
    if exported is not None:
        return _verify_file(session, exported, _read_head(exported) if head is None else head)
    found = session.client.post("audit", "verify", body={"head": head, "from_head": from_head})
    session.out.value(found)
    out = session.out
    if found["first_behind"]:
        out.line(
            f"entries up to revision {found['first_behind']} were trimmed; the rest follows from its head"
        )
    if found["older"]:
        out.line(f"{found['older']} entries are from before entries were chained: only heads cover them")
    if found["strangers"]:
        out.warning(f"{found['strangers']} heads in Redis are not signed by this control process' key")
    for problem in found["problems"]:
        out.failure(problem)
    if found["more_problems"]:
        out.failure(f"and {found['more_problems']} problems more")
    if not found["whole"]:
        return 1
    out.line(
        f"{found['entries']} entries up to revision {found['revision']} are whole; {found['heads']} heads "
        f"agree, {found['unsigned_entries']} newest entries are not under a head yet"
    )
    return 0


@audit.command()
@operator
def head(session: Session) -> int:
    """Sign everything up to now; keep the output where Redis' administrators cannot write."""
    found = session.client.post("audit", "head", body={})["head"]
    if found is None:
        raise TurnoutError("not_found", "nothing was ever changed: there is nothing to sign")
    click.echo(json.dumps(found))
    return 0


@audit.command()
@click.argument("path", metavar="FILE")
@operator
def export(session: Session, path: str) -> int:
    """Write every entry, and the head that signs them, as JSON lines; - = standard output."""
    if path == "-":
        count = _write(session, sys.stdout)
    else:
        try:
            with Path(path).open("x") as file:
                count = _write(session, file)
        except OSError as error:
            raise CallerError("bad_request", f"{path} cannot be written: {error.strerror}") from None
    session.out.warning(f"{count} entries were written; the last line is their head")
    return 0


def _verify_file(session: Session, path: Path, head: Any) -> int:
    try:
        kept = Head(**head)
        *lines, _ = [json.loads(line) for line in path.read_text().splitlines()]
        entries = [(line["id"].encode(), _entry(line["parts"])) for line in lines]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise CallerError("bad_request", f"{path} is nothing that `turnout audit export` wrote") from None
    walk = Walk({kept.revision: kept})
    for entry_id, entry in entries:
        walk.step(entry_id, entry)
    walk.end(at_least=kept.revision, at_most=walk.revision)
    found = {"whole": walk.is_whole, "entries": walk.entries, "problems": walk.problems}
    session.out.value(found)
    for problem in walk.problems:
        session.out.failure(problem)
    if walk.is_whole:
        session.out.line(f"{walk.entries} entries up to revision {walk.revision} are those of the head")
    return 0 if walk.is_whole else 1


def _entry(parts: Any) -> dict[bytes, bytes]:
    return {_raw(name): _raw(value) for name, value in parts}


def _raw(text: Any) -> bytes:
    return base64.b64decode(text["base64"]) if isinstance(text, dict) else text.encode()


def _write(session: Session, file: Any) -> int:
    signed = session.client.post("audit", "head", body={})["head"]
    count = 0
    for entry in _pages(session):
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        count += 1
        if signed is not None and entry["id"] == signed["entry_id"]:
            break
    file.write(json.dumps({"head": signed}) + "\n")
    return count


def _pages(session: Session) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = session.client.get("audit", "export", after=after)
        yield from page["entries"]
        after = page["next"]
        if after is None:
            return


def _tell(session: Session, found: Mapping[str, Any]) -> None:
    session.out.value(found)
    session.out.table(
        ("revision>", "when", "by", "reason", "changed"),
        [
            (entry["revision"], moment(entry["at_ms"]), entry["author"], entry["reason"], _changed(entry))
            for entry in found["entries"]
        ],
    )


def _changed(entry: Mapping[str, Any]) -> str:
    changes = ", ".join(
        change["field"] + (" (deleted)" if change["deleted"] else "") for change in entry["changes"]
    )
    return changes + (f"; forced: {entry['forced']}" if entry["forced"] else "")


def _tell_route(session: Session, route: Mapping[str, Any]) -> None:
    out = session.out
    if route["document"] is None:
        out.line(f"{route['model']}: {route['said']}")
        return
    until = "now" if route["until_ms"] is None else moment(route["until_ms"])
    out.line(f"{route['model']} at revision {route['revision']}, by {route['author']}")
    out.line(f"  {'live':<10} from {moment(route['since_ms'])} until {until}")
    try:
        lines = document_lines(route["document"])
    except (KeyError, TypeError, ValueError, AttributeError):
        lines = [("document", json.dumps(route["document"]))]
    for name, text in lines:
        out.line(f"  {name:<10} {text}")


def _read_head(path: Path) -> Any:
    """Of a file by `head`, or the last line of one by `export`."""
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        value = json.loads(lines[-1])
        return value.get("head", value)
    except (OSError, ValueError, IndexError, AttributeError):
        raise CallerError(
            "bad_request", f"{path} holds no head: `turnout audit head > {path}` makes one"
        ) from None


def _ms(text: str) -> int:
    """Unix time in ms; a date or time without a zone is local."""
    if (ago := _AGO.fullmatch(text)) is not None:
        then = datetime.datetime.now().timestamp() - int(ago[1]) * _UNIT_S[ago[2]]
    else:
        try:
            then = datetime.datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            raise click.UsageError(
                f"{text} is no time: 2026-11-25, 2026-11-25T10:30, or 90m, 12h, 7d"
            ) from None
    return max(0, int(then * 1000))
