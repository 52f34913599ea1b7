"""Tests of `hmic_keras._files`: a reader never sees half a file."""

import hashlib
import json
import os
import subprocess
import threading

import pytest

from hmic_keras._files import atomic_path, sha256, write_json, write_text


class Interrupted(Exception):
    """What a test raises half-way through writing."""


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def write_folder(path, **files):
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt"
        assert not temporary.exists()
        temporary.write_text("one")
        assert not target.exists()
    assert content(target.parent) == {"a.txt": "one"}


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("ne")
            raise Interrupted

    with pytest.raises(Interrupted):
        fail()
    assert content(tmp_path) == {"a.txt": "old"}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    write_folder(target, a="old", b="old")
    with atomic_path(target) as temporary:
        write_folder(temporary, a="new")
        assert content(target) == {"a": "old", "b": "old"}
    assert content(tmp_path) == {"model": None, "model/a": "new"}


def test_a_failure_keeps_the_old_folder(tmp_path):
    target = tmp_path / "model"
    write_folder(target, a="old")

    def fail():
        with atomic_path(target) as temporary:
            write_folder(temporary, a="new", b="new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert content(tmp_path) == {"model": None, "model/a": "old"}


@pytest.mark.parametrize("old_is_folder", [True, False])
def test_a_file_never_replaces_a_folder_nor_the_reverse(tmp_path, old_is_folder):
    target = tmp_path / "x"
    make = {True: lambda path: write_folder(path, a="1"), False: lambda path: path.touch()}
    make[old_is_folder](target)
    before = content(tmp_path)

    def replace():
        with atomic_path(target) as temporary:
            make[not old_is_folder](temporary)

    with pytest.raises(OSError, match="directory"):
        replace()
    assert content(tmp_path) == before


def test_writing_nothing_is_an_error_that_keeps_the_old_file(tmp_path):
    write_text(tmp_path / "a", "old")

    def write_nothing():
        with atomic_path(tmp_path / "a"):
            pass

    with pytest.raises(FileNotFoundError):
        write_nothing()
    assert content(tmp_path) == {"a": "old"}


def test_two_writers_at_once_leave_one_whole_folder(tmp_path):
    def write(text):
        for _ in range(20):
            try:
                with atomic_path(tmp_path / "model") as temporary:
                    write_folder(temporary, a=text, b=text)
            except OSError:
                continue  # the other one was faster

    threads = [threading.Thread(target=write, args=(text,)) for text in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = content(tmp_path / "model")
    assert found in ({"a": "x", "b": "x"}, {"a": "y", "b": "y"})
    assert os.listdir(tmp_path) == ["model"]


def test_files_get_the_permissions_of_ordinary_files(tmp_path):
    write_text(tmp_path / "a", "")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_json_is_readable_utf8_and_refuses_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"name": "Flöte", "values": [1, 0.5, None]})
    assert "Flöte" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["values"] == [1, 0.5, None]
    for broken in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, {"name": broken})
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "Flöte"
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_the_sha256_of_a_folder_is_what_sha256sum_would_list(tmp_path):
    folder = tmp_path / "model"
    write_folder(folder, b="2", a="1")
    write_folder(folder / "sub", c="3")
    listing = subprocess.run(
        "find . -type f | sed 's|^./||' | LC_ALL=C sort | xargs sha256sum",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=True,
    ).stdout
    assert sha256(folder) == hashlib.sha256(listing).hexdigest()


@pytest.mark.parametrize("change", ["content", "name", "new file", "removed"])
def test_the_sha256_of_a_folder_sees_every_change(tmp_path, change):
    write_folder(tmp_path / "m", a="1", b="2")
    before = sha256(tmp_path / "m")
    match change:
        case "content":
            (tmp_path / "m" / "a").write_text("3")
        case "name":
            (tmp_path / "m" / "a").rename(tmp_path / "m" / "c")
        case "new file":
            (tmp_path / "m" / "c").touch()
        case "removed":
            (tmp_path / "m" / "b").unlink()
    assert sha256(tmp_path / "m") != before
