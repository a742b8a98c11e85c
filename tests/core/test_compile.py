"""A bad document keeps its last good form and harms no other."""

import json
from typing import Any

from gateway.core.compile import EMPTY, compile_changes

DIGEST = "a" * 64


def envelope(doc: Any, revision: int) -> bytes:
    return json.dumps(
        {"field": "", "revision": revision, "at_ms": 1, "author": "a", "reason": "", "doc": doc}
    ).encode()


def route(model: str, *versions: str) -> dict[str, Any]:
    weight = 100 / len(versions)
    return {"model": model, "split": [{"version": version, "weight": weight} for version in versions]}


def version(model: str, name: str) -> dict[str, Any]:
    tensor = {"name": "X", "datatype": "FP32", "shape": [-1, 4]}
    signature = {"inputs": [tensor], "outputs": [tensor]}
    return {"model": model, "version": name, "digest": DIGEST, "size_bytes": 3, "signature": signature}


def test_a_commit_compiles_only_what_it_touches() -> None:
    first = compile_changes(
        EMPTY, revision=1, changed={f"route/m{i}": envelope(route(f"m{i}", "1"), 1) for i in range(3)}
    )
    second = compile_changes(first, revision=2, changed={"route/m1": envelope(route("m1", "2"), 2)})
    assert second.routes["m0"] is first.routes["m0"]
    assert second.routes["m1"].revision == 2
    assert first.routes["m1"].revision == 1


def test_nonsense_keeps_the_last_good_form_and_names_every_problem() -> None:
    good = compile_changes(EMPTY, revision=1, changed={"route/a": envelope(route("a", "1"), 1)})
    bad = {"model": "a", "split": [{"version": "1", "weight": -3}], "colour": "red"}
    after = compile_changes(
        good, revision=2, changed={"route/a": envelope(bad, 2), "route/b": envelope(route("b", "1"), 2)}
    )
    assert after.routes["a"] is good.routes["a"]
    assert "b" in after.routes
    assert {problem.split(":")[0] for problem in after.problems["route/a"].problems} == {
        "split.0.weight",
        "colour",
    }


def test_bytes_that_are_not_even_an_envelope_are_a_problem() -> None:
    after = compile_changes(EMPTY, revision=2, changed={"route/a": b"\xff nonsense", "version/a/1": b"{}"})
    assert set(after.problems) == {"route/a", "version/a/1"}
    assert not after.routes


def test_a_document_about_another_model_is_a_problem() -> None:
    after = compile_changes(EMPTY, revision=2, changed={"route/a": envelope(route("b", "1"), 2)})
    assert after.problems["route/a"].problems == ("model: the document is about b, but lies at a",)


def test_a_mended_document_is_served_and_the_problem_gone() -> None:
    bad = compile_changes(EMPTY, revision=1, changed={"route/a": b"x"})
    after = compile_changes(bad, revision=2, changed={"route/a": envelope(route("a", "1"), 2)})
    assert not after.problems
    assert after.routes["a"].revision == 2


def test_deleting_removes_route_and_version() -> None:
    full = compile_changes(
        EMPTY,
        revision=1,
        changed={"route/a": envelope(route("a", "1"), 1), "version/a/1": envelope(version("a", "1"), 1)},
    )
    after = compile_changes(full, revision=2, changed={"route/a": None, "version/a/1": None})
    assert "a" not in after.routes
    assert "a" not in after.versions
    assert not list(after.versions)
    assert "1" in full.versions["a"]


def test_a_document_that_is_not_news_leaves_its_model_as_it_is() -> None:
    documents = {"route/a": envelope(route("a", "1"), 1), "version/a/1": envelope(version("a", "1"), 1)}
    first = compile_changes(EMPTY, revision=1, changed=documents)
    spaced = {field: raw.replace(b'": ', b'":\n ') for field, raw in documents.items()}
    assert spaced != documents
    assert compile_changes(first, revision=2, changed=spaced).models is first.models


def test_what_is_kept_reads_as_what_came_and_takes_one_line_a_document() -> None:
    documents = {
        "route/a": json.dumps(json.loads(envelope(route("a", "1", "2"), 3)), indent=2).encode(),
        "version/a/1": envelope(version("a", "1") | {"notes": "long " * 1000}, 1),
        "version/a/2": envelope(version("a", "2"), 2),
    }
    first = compile_changes(EMPTY, revision=3, changed=documents)
    lines = first.models["a"].lines()
    assert not any(b"\n" in line or b"long" in line for line in lines)
    again = compile_changes(EMPTY, revision=3, changed={json.loads(line)["field"]: line for line in lines})
    assert again.routes["a"].route == first.routes["a"].route
    assert again.routes["a"].revision == 3
    assert dict(again.versions["a"]) == dict(first.versions["a"])


def test_nothing_is_compiled_by_listing_models() -> None:
    full = compile_changes(
        EMPTY,
        revision=1,
        changed={"route/a": envelope(route("a", "1"), 1), "version/b/1": envelope(version("b", "1"), 1)},
    )
    assert (list(full.routes), list(full.versions)) == (["a"], ["b"])
    assert full.models["a"]._compiled is None


def test_a_version_that_lies_at_another_ones_place_is_a_problem() -> None:
    after = compile_changes(EMPTY, revision=1, changed={"version/a/2": envelope(version("a", "1"), 1)})
    assert after.problems["version/a/2"].problems == ("version: the document is about a 1, but lies at a 2",)
    assert "a" not in after.versions


def test_a_bad_document_that_is_deleted_takes_its_last_good_form_along() -> None:
    good = compile_changes(EMPTY, revision=1, changed={"route/a": envelope(route("a", "1"), 1)})
    bad = compile_changes(good, revision=2, changed={"route/a": b"{"})
    assert "a" in bad.routes
    after = compile_changes(bad, revision=3, changed={"route/a": None})
    assert "a" not in after.routes
    assert not after.problems
