"""Archives: files are read as they were written, and damaged ones are refused."""

import contextlib
import io
import os
import time
import zipfile

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


def rewritten(path, change, keep=lambda name: True):
    """Write an archive's members again, after ``change`` of the dict of them, as a user with NumPy would."""
    with np.load(path) as file:
        members = {name: file[name] for name in file.files if keep(name)}
    change(members)
    with open(path, "wb") as file:
        np.savez(file, **members)


def test_an_edited_number_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    for name, value in (("a", np.array([0.0, 1.0, 2.0, 3.0, 5.0])), ("a", np.arange(5)), ("b", np.zeros(2))):
        write_archive(path, {"a": np.arange(5.0)}, {"format": 2})
        rewritten(path, dict.copy)
        read_archive(path)
        rewritten(path, lambda members: members.update({name: value}))  # noqa: B023
        with pytest.raises(ValueError, match=r"x\.npz': damaged or edited, its content does not match its digest$"):
            read_archive(path)
    write_archive(path, {"a": np.arange(5.0)}, {"format": 2})
    rewritten(path, lambda members: members["settings.json"].__setitem__(-2, ord("3")))
    with pytest.raises(ValueError, match="does not match its digest"):
        read_archive(path, unsealed=(1, 3))


def test_only_formats_of_before_may_lack_a_digest(tmp_path):
    path = tmp_path / "x.npz"
    for number in (1, 2):
        write_archive(path, {"a": np.arange(5.0)}, {"format": number})
        rewritten(path, dict.copy, lambda name: name != "sha256.txt")
        with pytest.raises(ValueError, match=r"x\.npz': no digest in it"):
            read_archive(path, unsealed=() if number == 1 else (1,))
    write_archive(path, {"a": np.arange(5.0)}, {"format": 1})
    rewritten(path, dict.copy, lambda name: name != "sha256.txt")
    np.testing.assert_array_equal(read_archive(path, unsealed=(1,))[0]["a"], np.arange(5.0))


def test_members_are_checked_before_one_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    opened = zipfile.ZipFile.open

    def written_only(self, name, mode="r", *arguments, **options):
        return pytest.fail("a member was read") if mode == "r" else opened(self, name, mode, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "open", written_only)
    zeros = np.zeros(10**7)
    np.savez_compressed(path, a=zeros)
    with pytest.raises(ValueError, match=r"'a\.npy' must not be compressed"):
        read_archive(path)
    for name, prefixes in (("b.npy", ("a",)), ("a.txt", ("",))):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"")
        with pytest.raises(ValueError, match=f"it must not hold '{name}'"):
            read_archive(path, prefixes)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", b"2")
    with pytest.raises(ValueError, match=r"it must not hold 'a\.npy'"):
        read_archive(path)


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path):
    path, content = tmp_path / "x.npz", io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": (10**13,), "fortran_order": False, "descr": "<f8"})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"an array of shape \(10000000000000,\) and type float64 must have that many"):
        read_archive(path)
