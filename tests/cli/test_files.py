"""`gateway.cli.folder.files`: route documents as people write them."""

from pathlib import Path
from typing import Any

import click
import pytest

from gateway.cli.folder.files import read_documents, write_documents
from gateway.cli.words import duration, parse_since


def read(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    return read_documents(str(path))


def test_a_version_keeps_its_very_characters(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path,
        "model: digits\nsplit:\n- {version: 1.10, weight: 99.5}\n- {version: 2026-11-03, weight: 0.5}\n"
        "slots: {blue: 007, live: blue}\nfallback: 1e3\n",
    )
    assert [entry["version"] for entry in found["split"]] == ["1.10", "2026-11-03"]
    assert [entry["weight"] for entry in found["split"]] == [99.5, 0.5]
    assert (found["slots"]["blue"], found["fallback"]) == ("007", "1e3")


def test_words_stay_words_and_numbers_are_decimal(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "a: yes\nb: on\nc: true\nd: ~\ne:\nf: 010\ng: 1e2\nh: 2026-11-03\ni: -5\n")
    expected = {"a": "yes", "b": "on", "c": True, "d": None, "e": None, "f": 10, "g": 100.0, "i": -5}
    assert found == expected | {"h": "2026-11-03"}


def test_several_documents_are_read_and_written_back(tmp_path: Path) -> None:
    documents: list[dict[str, Any]] = [
        {"model": "digits", "split": [{"version": "1", "weight": 100.0}]},
        {"model": "iris"},
    ]
    assert read(tmp_path, write_documents(documents)) == documents


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x\n",
        "a: " + "[" * 5000,
        "!!python/object/apply:os.system ['true']\n",
        "1: 2\n",
        "a: .inf\n",
        "\x00",
    ],
)
def test_what_is_dangerous_or_means_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(click.UsageError):
        read(tmp_path, text)


def test_a_key_that_comes_twice_and_a_file_without_end_are_told(tmp_path: Path) -> None:
    twice, endless = tmp_path / "twice.yaml", tmp_path / "endless.yaml"
    twice.write_text("model: digits\nmodel: fraud\n")
    with pytest.raises(click.UsageError, match="line 2, column 1: the key model appears twice"):
        read_documents(str(twice))
    endless.write_text("model: digits\n" + "#" * 5_000)
    with pytest.raises(click.UsageError, match="longer than"):
        read_documents(str(endless), max_bytes=5_000)


def test_a_missing_file_and_a_binary_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="No such file"):
        read_documents(str(tmp_path / "none.yaml"))
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(click.UsageError, match="not a text file"):
        read_documents(str(path))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172_800)])
def test_a_time_back_is_written_short(text: str, seconds: int) -> None:
    assert parse_since(text) == seconds


def test_an_age_is_told_in_the_unit_that_fits() -> None:
    assert [duration(value) for value in (0, 59, 119, 150, 7300, 200_000)] == [
        "0 s", "59 s", "119 s", "2 min", "2 h", "2 d",
    ]  # fmt: skip
