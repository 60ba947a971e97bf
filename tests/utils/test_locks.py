"""Locks keep other processes and threads out, say who holds them, and end with their process."""

import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from dts_gym.utils.caching import cached
from dts_gym.utils.locks import locked

_HOLD = """
import sys, time, pathlib
from dts_gym.utils.locks import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path):
    path = tmp_path / "it.lock"
    process = holder(path, 60)
    try:
        with pytest.raises(BlockingIOError, match=f"it.lock' is held by process {process.pid} on .* since 2") as caught:
            locked(path).__enter__()
        assert "\n" not in str(caught.value)
        assert json.loads(path.read_bytes())["process"] == process.pid
    finally:
        process.kill()
        process.communicate()
    with locked(path):  # the file of a killed process locks nothing
        assert json.loads(path.read_bytes())["process"] == os.getpid()
    assert os.listdir(tmp_path) == []


def test_another_thread_is_refused_and_an_error_frees_the_lock(tmp_path):
    path, seen = tmp_path / "it.lock", []

    def enter():
        try:
            with locked(path, name="the folder"):
                seen.append("in")
        except BlockingIOError as error:
            seen.append(str(error))

    thread = threading.Thread(target=enter)

    def fail():
        with locked(path):
            thread.start()
            thread.join()
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        fail()
    assert seen[0].startswith(f"the folder is held by process {os.getpid()} on ")
    enter()
    assert seen[1:] == ["in"]


def test_who_waits_says_so_and_comes_in_afterwards(tmp_path, caplog):
    path = tmp_path / "it.lock"
    process = holder(path, 1)
    with caplog.at_level("WARNING", "dts_gym"), locked(path, wait=True):
        assert process.wait(timeout=10) == 0
    assert [record.name for record in caplog.records] == ["dts_gym"]
    assert f"waiting for process {process.pid}" in caplog.text


def test_a_removed_lock_file_is_no_lock_and_two_are_never_in(tmp_path):
    """Threads that enter and leave again and again, while the file comes and goes with each."""
    path, inside, most, count = tmp_path / "it.lock", [], [], []

    def enter():
        for _ in range(60):
            with locked(path, wait=True):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()
            count.append(1)

    threads = [threading.Thread(target=enter) for _ in range(4)]
    sleep = time.sleep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.001)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(count) == 240
    assert max(most) == 1
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_locked_a_warning_says_so(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="this machine has no fcntl")

    def flock(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match=r"it\.lock' cannot be locked \(No locks available\): let no other"):
        locked(tmp_path / "it.lock").__enter__()


def test_who_leaves_removes_its_own_file_only(tmp_path):
    path = tmp_path / "it.lock"
    with locked(path):
        path.unlink()  # by hand
        process = holder(path, 60)
    assert json.loads(path.read_bytes())["process"] == process.pid
    process.kill()
    process.communicate()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        locked(tmp_path / "nowhere" / "it.lock").__enter__()


def test_what_is_cached_is_made_once_and_anew_where_damaged(tmp_path):
    path, made = tmp_path / "deep" / "it.txt", []

    def read():
        if path.read_text() == "bad":
            raise ValueError("damaged")
        return path.read_text()

    def make():
        made.append(1)
        path.write_text(f"{len(made)}")
        return path.read_text()

    assert [cached(path, read, make, "again") for _ in range(3)] == ["1"] * 3
    path.write_text("bad")
    with pytest.warns(UserWarning, match="^again: damaged$"):
        assert cached(path, read, make, "again") == "2"
    assert os.listdir(path.parent) == ["it.txt"]
