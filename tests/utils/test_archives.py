"""Archives: files are read as they were written, and damaged ones are refused."""

import contextlib
import os
import time

import numpy as np
import pytest

from dts_gym.utils.archives import read_archive, write_archive, write_atomically


def test_what_is_written_comes_back_under_exactly_the_given_name(tmp_path):
    path = tmp_path / "agent.bin"
    arrays = {"a": np.arange(6.0).reshape(2, 3), "ids": np.array([1, 2], dtype=np.int64)}
    write_archive(path, arrays, {"exploration": 0.1, "state": 2**127})
    back, settings = read_archive(path)
    assert settings == {"exploration": 0.1, "state": 2**127}
    assert set(back) == set(arrays)
    np.testing.assert_array_equal(back["a"], arrays["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["agent.bin"]


def test_the_same_content_is_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    def written(name):
        write_archive(tmp_path / name, {"a": np.arange(5.0)}, {"x": 1})
        return (tmp_path / name).read_bytes()

    now = written("now")
    later = time.localtime(time.time() + 1e6)
    monkeypatch.setattr(time, "localtime", lambda *_: later)
    assert written("later") == now


def test_every_damage_is_a_value_error_or_harmless(tmp_path):
    path = tmp_path / "x.npz"
    write_archive(path, {"a": np.arange(5.0)}, {"x": 1})
    good = path.read_bytes()
    for end in (0, 10, len(good) // 2, len(good) - 5):
        path.write_bytes(good[:end])
        with pytest.raises(ValueError, match="path must be a file written by dts_gym"):
            read_archive(path)
    for place in range(0, len(good), 3):
        damaged = bytearray(good)
        damaged[place] ^= 255
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(ValueError):
            read_archive(path)


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_archive(tmp_path / "x", {"a": np.array([{}])}, {})
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "absent")


def test_errors_speak_of_the_path_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_archive(tmp_path / "nowhere" / "x.npz", {}, {})
    assert caught.value.filename == str(tmp_path / "nowhere" / "x.npz")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ValueError, match=r"got '.*text': it is no \.npz"):
        read_archive(tmp_path / "text")


def test_a_file_is_whole_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a crash of the machine may leave the new name on an empty file."""
    path, synced = tmp_path / "x", []

    def fsync(descriptor):
        synced.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, lambda file: file.write(b"12345"))
    assert synced == [(5, False)]
    assert path.read_bytes() == b"12345"
