"""The `turnout ...` commands that a Markdown page names, and what is wrong with one by click's own tree.

Read by `tests/test_docs.py`. A word in capitals, with `…` or a variable in it stands for anything; only
nouns, verbs and names of options are judged. No process is started and no server asked.
"""

import functools
import re
from collections.abc import Iterator

import click

from gateway.cli.main import turnout

_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4,}(turnout .*)$", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_COMMAND = re.compile(r"(?:^|[;|&(]|\$\()\s*(?:- |> |\$ |export \w+=\$\()?(?:\w+=\S+ )*turnout ([^|&;)#]*)")
_COMMENT = re.compile(r"(?:^|\s)#.*$|\s{3,}[a-zA-Z0-9].*$")
_NESTED = re.compile(r"\"\$\([^)]*\)\"")
_WORD = re.compile(r"'[^']*'|\"[^\"]*\"|\S+")
_SHELL = {"", "sh", "bash", "yaml", "console"}


def commands(page: str) -> Iterator[str]:
    """Each command of a page without the word `turnout`, as one line."""
    for language, body in _FENCE.findall(page):
        if language in _SHELL:
            yield from _of_lines(body.replace("\\\n", " "))
    prose = _FENCE.sub("", page)
    yield from _of_lines("\n".join(_INDENTED.findall(prose)))
    for span in _INLINE.findall(prose):
        yield from _of_lines(re.sub(r"\s+", " ", span))


def _of_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        plain = _NESTED.sub("VALUE", _COMMENT.sub("", line))
        yield from (found.strip() for found in _COMMAND.findall(plain))


def problem(command: str) -> str | None:
    """Why click would not understand it, if so."""
    return _walk(turnout, _WORD.findall(command))


@functools.cache
def _root() -> click.Context:
    return click.Context(turnout, info_name="turnout")


def _walk(group: click.Command, words: list[str]) -> str | None:
    while isinstance(group, click.Group):
        if not words or _is_placeholder(words[0]):
            return None
        if words[0].startswith("-"):
            return _unknown_option(group, words)
        inner = group.get_command(_root(), words[0])
        if inner is None:
            return f"no command {words[0]}"
        group, words = inner, words[1:]
    return _unknown_option(group, words)


def _unknown_option(command: click.Command, words: list[str]) -> str | None:
    known = {
        name
        for param in command.get_params(_root())
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
    }
    for word in words:
        name = word.partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", name) and name not in known:
            return f"no option {name}"
    return None


def _is_placeholder(word: str) -> bool:
    return "…" in word or "..." in word or word.isupper() or word[0] in "<[$"
