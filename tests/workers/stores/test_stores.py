"""Every kind of store does the same: a folder, and what fsspec reaches (here its local and memory ones)."""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.contract.errors import CallerError, TurnoutError, UpstreamError
from workers.stores import Kept, Store, open_store, settings_of
from workers.stores.remote import RemoteStore

DATA = b"a model file" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["folder", "local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = {"folder": "", "local": f"local://{tmp_path}/store", "memory": f"memory://{uuid4().hex}"}
    made = open_store(tmp_path / "store", url[request.param])
    yield made
    for kept in made.kept():
        made.set_aside(kept.digest)
    for digest in made.aside():
        made.delete(digest)


def put(store: Store, folder: Path, data: bytes = DATA) -> str:
    source = folder / "source"
    source.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    store.put(source, digest)
    return digest


def test_a_file_comes_back_under_its_digest(store: Store, tmp_path: Path) -> None:
    assert (store.kept(), store.has(DIGEST)) == ([], False)
    assert put(store, tmp_path) == DIGEST
    assert b"".join(store.chunks(DIGEST)) == DATA
    (kept,) = store.kept()
    assert kept == Kept(DIGEST, len(DATA), kept.modified_s)
    assert abs(kept.modified_s - time.time()) < 60
    with pytest.raises(CallerError) as raised:
        list(store.chunks("0" * 64))
    assert raised.value.code == "not_found"


def test_the_same_file_again_mends_what_was_kept_and_makes_it_young(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, tmp_path)
    path = next(tmp_path.glob("sha256/*/*"))
    path.write_bytes(b"rotten")
    os.utime(path, (1, 1))
    put(store, tmp_path)
    assert b"".join(store.chunks(DIGEST)) == DATA
    assert store.kept()[0].modified_s > 1


def test_what_is_set_aside_is_not_found_until_it_is_brought_back(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path)
    store.set_aside(DIGEST)
    assert (store.has(DIGEST), store.kept(), store.aside()) == (False, [], [DIGEST])
    store.bring_back(DIGEST)
    assert (store.has(DIGEST), store.aside()) == (True, [])
    store.set_aside(DIGEST)
    store.delete(DIGEST)
    assert (store.kept(), store.aside()) == ([], [])


def test_a_put_that_fails_leaves_nothing_under_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteStore(f"local://{tmp_path}/store")
    files = type(store._fs)
    whole = files.put_file

    def half(self: object, source: str, target: str, **options: object) -> None:
        (tmp_path / "half").write_bytes(DATA[:100])
        whole(self, str(tmp_path / "half"), target, **options)

    def broken(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(files, "put_file", half)
    with pytest.raises(UpstreamError, match="kept 100 bytes of a longer file"):
        put(store, tmp_path)
    monkeypatch.setattr(files, "put_file", whole)
    monkeypatch.setattr(files, "mv", broken)
    with pytest.raises(UpstreamError, match=r"failed: .*no"):
        put(store, tmp_path)
    assert not store.has(DIGEST)
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_what_a_dead_writer_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    for store in (open_store(tmp_path), open_store(tmp_path, f"local://{tmp_path}")):
        (tmp_path / "partial").mkdir(exist_ok=True)
        (tmp_path / "partial" / "old").write_bytes(b"x")
        (tmp_path / "partial" / "young").write_bytes(b"x")
        os.utime(tmp_path / "partial" / "old", (1000, 1000))
        assert store.delete_partial(time.time() - 60) == 1
        assert [path.name for path in (tmp_path / "partial").iterdir()] == ["young"]


def test_an_address_without_its_driver_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(CallerError, match=r"the store s3://bucket/models needs a driver: .*s3fs"):
        open_store(tmp_path, "s3://bucket/models")
    with pytest.raises(CallerError, match="nosuch://x is not a store"):
        open_store(tmp_path, "nosuch://x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(CallerError, match=r"needs fsspec: pip install 'turnout\[stores\]'") as raised:
        open_store(tmp_path, "ftp://ana:secret@host/models")
    assert "secret" not in raised.value.message


def test_a_store_that_is_away_is_told_without_its_password(tmp_path: Path) -> None:
    store = RemoteStore(f"local://{tmp_path}/store")
    (tmp_path / "store").write_bytes(b"a file where a folder should be")
    with pytest.raises(TurnoutError) as raised:
        put(store, tmp_path)
    assert raised.value.code in ("bad_upstream", "not_found")


def test_an_option_means_a_folder_or_an_address() -> None:
    assert settings_of(None) == {}
    assert settings_of("models") == {"artifacts_dir": Path("models"), "artifacts_url": ""}
    assert settings_of("file:///srv/a%20b") == {"artifacts_dir": Path("/srv/a b"), "artifacts_url": ""}
    assert settings_of("s3://bucket/models") == {"artifacts_url": "s3://bucket/models"}
