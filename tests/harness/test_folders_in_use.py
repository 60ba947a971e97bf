"""One run at a time writes to a folder; kills at any moment leave one that goes on to the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dts_gym.cli.entry import main
from dts_gym.harness.comparing import compare
from dts_gym.harness.conduct import Conduct
from dts_gym.utils.locks import LOCK, locked

pytestmark = pytest.mark.skipif(os.name != "posix", reason="this machine has no SIGKILL")

SWEEP = """
rounds: {rounds}
seeds: 3
environments:
  - {{id: DiffusionBandit-v0, num_actions: [6, 9], dim: 2}}
agents: [dTS, "LinTS:exploration=0.5"]
"""
ENV = ["--env", "DiffusionBandit-v0", "--env.num-actions", "6", "--env.dim", "2"]


def command(kind, folder, rounds):
    """The words of a command, without its folder."""
    if kind == "sweep":
        (folder / "sweep.yaml").write_text(SWEEP.format(rounds=rounds))
        return ["sweep", str(folder / "sweep.yaml")]
    if kind == "posterior-error":
        return ["posterior-error", "--problems", "linear", "--observations", "1", "--seeds", "10", "--draws", "50"]
    words = [*ENV, "--agents", "LinTS", "dTS", "--seeds", "3", "--rounds", str(rounds)]
    return ["run", "--tune", "--tuning-seeds", "2", *words] if kind == "run" else ["tune", *words]


def start(words, out):
    line = [sys.executable, "-m", "dts_gym.cli", *words, "--out", str(out), "--no-progress", "--resume"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def results(folder):
    """Every file that must not depend on when and how often it was killed, as bytes; not the figure of a command."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "log"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.suffix != ".png"}


def wait_for(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("run", []), ("run", ["--workers", "2"]), ("tune", []), ("sweep", ["--workers", "2"]), ("posterior-error", [])],
)
def test_a_second_process_is_refused_in_a_line_and_the_first_goes_on(tmp_path, kind, options, capsys):
    words, out = command(kind, tmp_path, 300), tmp_path / "out"
    first = start([*words, *options], out)
    try:
        wait_for(lambda: (out / LOCK).exists() and (out / LOCK).read_bytes())
        os.kill(first.pid, signal.SIGSTOP)  # so that it is at work still, however slow the second is
        part = out / ".x.npz.0123.part"  # what the first may be writing
        part.write_bytes(b"half")
        assert main([*words, "--out", str(out), "--no-progress", "--resume"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"out must be a folder to which no other run writes, got '{out}', which is held by process" in line
        assert f"process {first.pid} on " in line
        assert part.read_bytes() == b"half"
        part.unlink()
        os.kill(first.pid, signal.SIGCONT)
        printed, errors = first.communicate(timeout=300)
    finally:
        first.kill()
        first.wait()
    assert (first.returncode, errors) == (0, ""), printed
    assert not (out / LOCK).exists()
    assert main([*words, "--out", str(tmp_path / "straight"), "--no-progress"]) == 0
    assert results(out) == results(tmp_path / "straight")


@pytest.mark.parametrize(
    ("kind", "options", "kills"),
    [
        ("run", [], 3),
        ("sweep", ["--workers", "2"], 3),
        *(
            pytest.param(kind, options, 25, marks=pytest.mark.slow)
            for kind in ("run", "sweep")
            for options in (["--backend", "serial"], ["--workers", "2"])
        ),
    ],
)
def test_kills_at_random_moments_change_no_byte(tmp_path, kind, options, kills):
    words, out, rng = command(kind, tmp_path, 400), tmp_path / "out", np.random.default_rng([kills, len(options)])
    assert main([*words, "--out", str(tmp_path / "straight"), "--no-progress"]) == 0
    straight = results(tmp_path / "straight")
    left = kills
    while left:
        process, records = start([*words, *options], out), len(list(out.rglob("runs/[!.]*.npz")))
        if rng.random() < 0.5:  # at any moment, also while it begins
            until = time.monotonic() + rng.uniform(0.2, 6)
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
        else:  # between two records, or within one
            more = records + int(rng.integers(1, 5))
            while process.poll() is None and len(list(out.rglob("runs/[!.]*.npz"))) < more:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
        if process.poll() is None:
            process.kill()
            left -= 1
        _, errors = process.communicate(timeout=60)  # ends when no worker holds the pipes any more
        assert "dts-gym:" not in errors, errors  # no run was made again, no file was damaged
        if process.returncode == 0:  # it was done before it could be killed: once more from the beginning
            assert results(out) == straight
            shutil.rmtree(out)
    process = start([*words, *options], out)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert results(out) == straight  # and neither a part of a file nor a lock is left


def test_a_lock_is_no_content_of_a_folder_and_a_refused_run_makes_none(tmp_path):
    asked = {"seeds": 1, "num_rounds": 5, "env_settings": {"num_actions": 4, "dim": 2}}
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).write_text("what a kill leaves before anything else is written")
    compare("DiffusionBandit-v0", ["Random"], **asked, out=out)
    with locked(out / LOCK), pytest.raises(BlockingIOError, match="out must be a folder to which no other run writes"):
        compare("DiffusionBandit-v0", ["Random"], **asked, out=out, resume=True)
    with pytest.raises(ZeroDivisionError), Conduct(tmp_path / "new").lock_folder():
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["out"]
