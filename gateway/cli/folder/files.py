"""Route documents as people write them: YAML (or JSON), one or several in a file.

A version's name keeps exactly the characters of the file: `version: 1.10` means "1.10", although YAML calls
it a number. Words such as `yes` and dates stay words. Two equal keys, and numbers that are none, are refused
here, because JSON on the way to the control API could not say them; so are aliases, which let a small file
mean a huge document.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import click
import yaml

MAX_FILE_BYTES = 4 * 1024 * 1024
# Keys whose values are words, whatever they look like.
_WORDS = frozenset(
    {
        "version", "blue", "green", "fallback", "model", "name", "exact", "prefix", "candidate", "baseline",
        "alias", "digest", "git_commit", "data_digest", "policy", "run_id",
    }
)  # fmt: skip


class _Loader(yaml.SafeLoader):
    """YAML's core schema: true, false, null and decimal numbers; everything else is a string."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "write it out: aliases are not taken", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a word", key_node.start_mark
                )
            if key in built:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} appears twice", key_node.start_mark
                )
            if key in _WORDS and _is_number(value_node):
                built[key] = value_node.value
            else:
                built[key] = self.construct_object(value_node, deep=True)
        return built


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


_resolve("bool", "true|false|True|False|TRUE|FALSE", "tTfF")
_resolve("null", "null|~|Null|NULL", "n~N")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_resolve("int", "[-+]?[0-9]{1,18}", "-+0123456789")
_resolve("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789")
_resolve("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.")


def _int(loader: _Loader, node: Any) -> int:
    return int(node.value)


def _map(loader: _Loader, node: Any) -> dict[Any, Any]:
    return loader.construct_mapping(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _map)


class _Dumper(yaml.SafeDumper):
    """Quotes every word that `_Loader` would take for something else: `1e3` is a name, not a thousand."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012
        first: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
            *_Loader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }


def read_documents(
    path: str, *, may_be_empty: bool = False, max_bytes: int = MAX_FILE_BYTES
) -> list[dict[str, Any]]:
    """Every document of a file, `-` = standard input; what is wrong with it is the caller's wrong use."""
    text = _text(path, max_bytes)
    try:
        found = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise click.UsageError(f"{path}{where}: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise click.UsageError(f"{path}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise click.UsageError(f"{path}: nested too deeply") from None
    if not found and not may_be_empty:
        raise click.UsageError(f"{path}: there is no document in it")
    for index, document in enumerate(found):
        name = path if len(found) == 1 else f"{path}, document {index + 1}"
        if not isinstance(document, dict):
            raise click.UsageError(f"{name}: a document is a mapping; that of a route begins with `model:`")
        if unspeakable := next(_unspeakable(document, ""), None):
            raise click.UsageError(f"{name}: {unspeakable}: not a number")
    return found


def write_documents(documents: list[dict[str, Any]]) -> str:
    """The documents as `read_documents` takes them."""
    text: str = yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, explicit_start=True
    )
    return text


def _text(path: str, max_bytes: int) -> str:
    try:
        with click.open_file(path, "rb") as file:
            data: bytes = file.read(max_bytes + 1)
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    if len(data) > max_bytes:
        raise click.UsageError(f"{path}: longer than {max_bytes // 1024 // 1024} MiB; routes are not")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.UsageError(f"{path}: not a text file (UTF-8)") from None


def _is_number(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float"))


def _unspeakable(value: Any, path: str) -> Iterator[str]:
    """Paths of NaN and infinities."""
    match value:
        case float() if not math.isfinite(value):
            yield path
        case dict():
            for key, item in value.items():
                yield from _unspeakable(item, f"{path}.{key}" if path else key)
        case list():
            for index, item in enumerate(value):
                yield from _unspeakable(item, f"{path}.{index}")
