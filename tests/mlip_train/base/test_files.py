from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mlip_train.base.files import atomic_path, copy_atomically, fsync_directory, sha256_of, write_atomically


def fail_while_writing(path: Path, error: type[BaseException]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_old_content_stays_when_the_body_raises(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(error):
        fail_while_writing(path, error)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"file.json": "old"}


def test_nothing_appears_when_the_body_raises_the_first_time(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path / "file.json", ZeroDivisionError)
    assert list(tmp_path.iterdir()) == []


def test_the_old_content_stays_when_the_body_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass
    assert path.read_text() == "old"


def test_the_new_content_is_not_seen_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_is_hidden_and_on_the_same_file_system(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "potential_gen_01.yaml") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.match(".*.tmp")
        temporary.touch()


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with atomic_path(path) as one, atomic_path(path) as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


@pytest.mark.parametrize("content", ["", "text\n", "ünï ☃\r\n", b"", b"\x00\xff"])
def test_content_is_written_as_it_is(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_a_copy_replaces_the_target(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"\x00new")
    target.write_bytes(b"old and longer")
    copy_atomically(source, target)
    assert target.read_bytes() == source.read_bytes() == b"\x00new"


def test_a_missing_source_leaves_the_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    with pytest.raises(FileNotFoundError):
        copy_atomically(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_text() == "old"


def test_the_checksum_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "file") == known


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_the_checksum_does_not_depend_on_the_size_of_the_chunks(tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_a_directory_can_be_synced(tmp_path: Path) -> None:
    fsync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_directory(tmp_path / "missing")
