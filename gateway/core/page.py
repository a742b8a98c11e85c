"""A page of sentences and tables for people, written as Markdown or as one HTML file.

Every text in it may come from others (owners, reasons, commit subjects), so all of it is escaped: no text can
become a heading, a link, a further cell or a script. Called by the CLI for summaries and reports.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_MARKDOWN = {
    **{char: "\\" + char for char in "\\`*_[]|~"},
    "&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;",
}  # fmt: skip
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_AT_START = frozenset("#-+=")  # what begins a heading, a list or a rule
_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2rem .5rem;text-align:left;"
    "vertical-align:top}img{max-width:100%}"
)


@dataclass(frozen=True, slots=True)
class Section:
    """`empty` stands in the place of a table without rows."""

    title: str
    lines: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    empty: str = "Nothing."


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    lines: tuple[str, ...]
    sections: tuple[Section, ...]


def markdown(page: Page) -> str:
    """With tables as GitHub and GitLab draw them."""
    return "\n".join(_markdown_lines(page)) + "\n"


def _markdown_lines(page: Page) -> Iterator[str]:
    yield f"# {_escaped(page.title)}"
    yield from _paragraphs(page.lines)
    for section in page.sections:
        yield from ("", f"## {_escaped(section.title)}")
        yield from _paragraphs(section.lines)
        if not section.columns:
            continue
        if not section.rows:
            yield from ("", _escaped(section.empty))
            continue
        yield ""
        yield _row(section.columns)
        yield _row(("---",) * len(section.columns), is_escaped=True)
        yield from (_row(row) for row in section.rows)


def _paragraphs(lines: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        yield from ("", _escaped(line))


def _row(cells: tuple[str, ...], *, is_escaped: bool = False) -> str:
    return "| " + " | ".join(cells if is_escaped else map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    flat = " ".join(text.split())
    safe = "".join(_MARKDOWN.get(char, char) for char in flat)
    return "\\" + safe if safe[:1] in _AT_START else safe


def html(page: Page, pictures: Mapping[str, str]) -> str:
    """`pictures`: title of a section -> address of a picture (a data: URL), drawn above its table."""
    return "\n".join(_html_lines(page, pictures)) + "\n"


def _html_lines(page: Page, pictures: Mapping[str, str]) -> Iterator[str]:
    title = _safe(page.title)
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
    yield from (f"<p>{_safe(line)}</p>" for line in page.lines)
    for section in page.sections:
        yield f"<h2>{_safe(section.title)}</h2>"
        yield from (f"<p>{_safe(line)}</p>" for line in section.lines)
        if section.title in pictures:
            yield f'<p><img alt="{_safe(section.title)}" src="{_safe(pictures[section.title])}"></p>'
        if section.columns and not section.rows:
            yield f"<p>{_safe(section.empty)}</p>"
        elif section.columns:
            yield "<table>" + _html_row(section.columns, "th")
            yield from (_html_row(row, "td") for row in section.rows)
            yield "</table>"
    yield "</body></html>"


def _html_row(cells: tuple[str, ...], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{_safe(cell)}</{tag}>" for cell in cells) + "</tr>"


def _safe(text: str) -> str:
    return "".join(_HTML.get(char, char) for char in text)
