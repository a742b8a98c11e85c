"""Bytes out of stores: what changed, is missing or too long is refused, from a folder as from afar."""

import hashlib
import time
import tracemalloc
from pathlib import Path

import pytest

from gateway.contract.errors import CallerError, TurnoutError
from tests.workers import models
from workers.stores import open_store
from workers.stores.checked import opened, read_artifact, read_registered
from workers.stores.local import LocalStore, artifact_path

DATA = models.linear()
DIGEST = hashlib.sha256(DATA).hexdigest()
MANY = 10**6


def test_the_bytes_that_are_read_are_the_bytes_whose_digest_was_checked(tmp_path: Path) -> None:
    data = models.linear()
    digest = hashlib.sha256(data).hexdigest()
    path = artifact_path(tmp_path, digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert str(path).endswith(f"sha256/{digest[:2]}/{digest}")
    assert read_artifact(path, digest=digest, max_bytes=10**6) == (data, digest)
    path.write_bytes(data + b"\x00")
    with pytest.raises(CallerError, match="not the registered file") as raised:
        read_artifact(path, digest=digest, max_bytes=10**6)
    assert raised.value.code == "refused"


def test_a_file_over_the_limit_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(CallerError, match="no model file"):
        read_artifact(path, digest=None, max_bytes=10)
    path.write_bytes(bytes(11))
    with pytest.raises(CallerError, match="larger than 10 bytes"):
        read_artifact(path, digest=None, max_bytes=10)
    with pytest.raises(CallerError, match="cannot read"):
        read_artifact(tmp_path, digest=None, max_bytes=10)


@pytest.fixture
def far(tmp_path: Path) -> str:
    """The address of a store that fsspec reaches, with one file."""
    url = f"local://{tmp_path}/far"
    (tmp_path / "file").write_bytes(DATA)
    open_store(tmp_path, url).put(tmp_path / "file", DIGEST)
    return url


def test_a_worker_keeps_a_copy_of_a_far_file_and_mends_it(tmp_path: Path, far: str) -> None:
    here = tmp_path / "here"
    assert read_registered(here, far, DIGEST, max_bytes=MANY) == (DATA, DIGEST)
    copy = artifact_path(here, DIGEST)
    copy.write_bytes(DATA[:-1])
    assert read_registered(here, far, DIGEST, max_bytes=MANY) == (DATA, DIGEST)
    assert copy.read_bytes() == DATA
    artifact_path(tmp_path / "far", DIGEST).unlink()
    assert read_registered(here, far, DIGEST, max_bytes=MANY) == (DATA, DIGEST)
    assert list((here / "partial").iterdir()) == []


@pytest.mark.parametrize("change", [b"", DATA[:-1], DATA + b"x", DATA[:-1] + b"\xff"])
def test_a_far_file_that_changed_is_never_copied(tmp_path: Path, far: str, change: bytes) -> None:
    artifact_path(tmp_path / "far", DIGEST).write_bytes(change)
    with pytest.raises(TurnoutError, match="changed in the store"):
        read_registered(tmp_path / "here", far, DIGEST, max_bytes=MANY)
    assert [path for path in (tmp_path / "here").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("is_far", [False, True])
def test_what_is_opened_for_a_download_was_checked(tmp_path: Path, far: str, is_far: bool) -> None:
    store = open_store(tmp_path / "far", far if is_far else "")
    with opened(store, DIGEST, scratch=tmp_path / "scratch", max_bytes=MANY) as file:
        assert file.read() == DATA
    with pytest.raises(CallerError) as raised:
        opened(store, DIGEST, scratch=tmp_path / "scratch", max_bytes=len(DATA) - 1)
    assert raised.value.code == "too_large"
    with pytest.raises(CallerError) as raised:
        opened(store, "0" * 64, scratch=tmp_path / "scratch", max_bytes=MANY)
    assert raised.value.code == "not_found"
    artifact_path(tmp_path / "far", DIGEST).write_bytes(DATA[:-1] + b"\xff")
    with pytest.raises(TurnoutError, match="changed in the store"):
        opened(store, DIGEST, scratch=tmp_path / "scratch", max_bytes=MANY)


def test_a_file_that_is_open_stays_whole_while_it_is_removed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "file").write_bytes(DATA)
    store.put(tmp_path / "file", DIGEST)
    with opened(store, DIGEST, scratch=tmp_path, max_bytes=MANY) as file:
        store.set_aside(DIGEST)
        store.delete(DIGEST)
        assert not store.has(DIGEST)
        assert file.read() == DATA


def test_a_file_of_five_gigabytes_is_refused_without_being_read(tmp_path: Path) -> None:
    path = artifact_path(tmp_path, DIGEST)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(5 << 30)
    tracemalloc.start()
    before_s = time.process_time()
    try:
        with pytest.raises(CallerError, match="larger than"):
            read_artifact(path, digest=DIGEST, max_bytes=2 << 30)
        with pytest.raises(CallerError, match="longer than"):
            opened(LocalStore(tmp_path), DIGEST, scratch=tmp_path, max_bytes=2 << 30)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        assert time.process_time() - before_s < 0.5
    finally:
        tracemalloc.stop()
