"""The benchmark prints its tables; its times are not tested."""

import importlib.util
import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from dts_gym.bench import compiled, peers, rounds, serving

EXTRAS = runpy.run_path(str(Path(__file__).resolve().parents[2] / ".ci" / "extras.py"))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(rounds, "SETTINGS", (rounds.Setting(100, 5), rounds.Setting(300, 4, 3)))
    monkeypatch.setattr(peers, "_ROUNDS", {1: 2, peers.BATCH: 1})
    measure = rounds.measure_batch
    monkeypatch.setattr(
        rounds, "measure_batch", lambda _, repeats, seed: measure(rounds.Setting(300, 4), repeats, seed)
    )
    dtypes = rounds.measure_dtypes
    monkeypatch.setattr(rounds, "measure_dtypes", lambda _, *arguments: dtypes(rounds.Setting(300, 4), *arguments))


def test_the_table_has_every_setting_and_the_ratio_of_batches(small):
    lines = rounds.run_bench(rounds=400, repeats=3).splitlines()
    rows = [line.split() for line in lines if re.match(r" +\d+ +\d+ +\d+ ", line)]
    assert [row[:4] for row in rows] == [["100", "5", "2", "100"], ["300", "4", "3", "300"]]
    assert all(float(value) > 0 for row in rows for value in row[4:])
    assert re.search(r"256 rewards .* one batch over one by one 0?\d*\.\d{3}", "\n".join(lines))
    precisions = [line for line in lines if "float64 over float32" in line]
    assert len(precisions) == 2
    for line, played in zip(precisions, (4000, 10_000), strict=True):
        assert re.search(
            rf" {played} played: float64 .* \d+\.\d\d \(\d+ µs\) with 1 context, .* with 256 contexts$", line
        )
    assert "cores, load" in lines[-1]


def test_parts_are_asked_for_one_by_one(small, monkeypatch):
    monkeypatch.setattr(serving, "_ACTIONS", 40)
    monkeypatch.setattr(rounds, "run_together_bench", lambda **settings: f"together {settings}")
    lines = rounds.run_bench(repeats=3, serving=True, lockstep=True, progress=False).splitlines()
    rows = [line.split() for line in lines if re.match(r"(dTS|LinTS) ", line)]
    assert [tuple(row[:2]) for row in rows] == list(serving.CASES)
    assert all(float(value) > 0 for row in rows for value in row[2:])
    assert lines[-2] == "together {'seed': 0, 'progress': False}"
    with pytest.raises(ValueError, match="peers must be left out where fast"):
        rounds.run_bench(peers=True, serving=True)


def test_compiled_rounds_are_timed_against_those_by_numpy(monkeypatch):
    pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setattr(rounds, "SIZES", ((20, 3), (50, 4)))
    lines = rounds.run_bench(repeats=20, fast=True, progress=False).splitlines()
    rows = [line.split() for line in lines if re.match(r" +\d+ +\d+ ", line)]
    assert [row[:2] for row in rows] == [["20", "3"], ["50", "4"]]
    assert all(float(row[4]) == pytest.approx(float(row[3]) / float(row[2]), rel=0.02) for row in rows)


def test_compiled_rounds_need_their_extra(monkeypatch):
    monkeypatch.setattr(compiled, "is_fast", lambda: False)
    with pytest.raises(ValueError, match="fast must be left out where the extra `fast`"):
        rounds.run_bench(fast=True)


def test_peers_that_are_not_installed_are_refused(small, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="peers must be installed"):
        rounds.run_bench(peers=True)


class Slow:
    """A library that sleeps, and counts what it is asked."""

    made = ()

    def __init__(self, method, num_actions, dim):
        self.method, self.asked, self.learned = method, [], []
        Slow.made = (*Slow.made, self)

    def act(self, contexts):
        self.asked.append(len(contexts))
        return np.linalg.svd(np.ones((300, 300)))[1].argmax()

    def update(self, contexts, actions, rewards):
        self.learned.append((len(contexts), len(actions), len(rewards)))


def test_peers_are_timed_in_both_ways(small, monkeypatch, tmp_path):
    Slow.made = ()
    slow = (("slow", "numpy", Slow, peers.METHODS, True), ("single", "numpy", Slow, ("LinTS",), False))
    monkeypatch.setattr(peers, "_PEERS", slow)
    sizes = ((40, 2, 20), (30, 3, 30))
    timings = list(peers.time_peers(1.0, 0, sizes))
    assert [t[:5] for t in timings] == [
        (*size, n, method) for size in sizes for method in ("LinTS", "LinUCB") for n in (1, 256)
    ]
    for timing in timings:
        others = {"slow", "single"} if timing.method == "LinTS" and timing.batch == 1 else {"slow"}
        assert set(timing.seconds) == {"dts_gym"} | others
        assert all(value > 0 for value in timing.seconds.values())
        assert peers.best_ratio(timing.seconds) == pytest.approx(
            min(timing.seconds[name] for name in others) / timing.seconds["dts_gym"]
        )
    first, single = Slow.made[:2]
    # How many rounds the budget lasts for depends on the machine; what comes in them does not.
    ones, batches = first.asked.count(1), first.asked.count(256)
    assert ones >= 1
    assert batches >= 1
    assert first.asked == [1] * ones + [256] * batches
    assert first.learned == [(20, 20, 20), *[(1, 1, 1)] * ones, *[(256, 256, 256)] * batches]
    assert set(single.asked) == {1}
    table = peers.peer_table(timings)
    assert len(table.splitlines()) == 1 + len(timings) + 1
    assert f"{peers.best_ratio(timings[0].seconds):.1f}" in table
    peers.peer_figure(timings, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("peer", peers._PEERS, ids=lambda peer: peer[0])
def test_each_library_acts_and_learns(peer):
    """Where it is installed: a played action of large rewards is found by the library's own agent."""
    name, package, make, methods, _ = peer
    if package == EXTRAS["COMPILED"] and not importlib.util.find_spec(package) and not EXTRAS["can_compile"]():
        pytest.skip(f"this machine has no C++ compiler, or no Python.h, to build {package} with")
    pytest.importorskip(package, reason=f"{package} is not installed")
    rng = np.random.default_rng(0)
    for method in methods:
        learner = make(method, 6, 3)
        contexts = np.tile([1.0, 0.0, 0.0], (600, 1))
        actions = np.arange(600) % 6
        learner.update(contexts, actions, np.where(actions == 4, 1.0, -1.0) + 0.01 * rng.standard_normal(600))
        chosen = np.asarray(learner.act(contexts[:32]))
        assert chosen.shape == (32,)
        assert (chosen == 4).all(), (name, method, chosen)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rounds", 0), ("repeats", 0), ("seed", -1), ("budget", 0.0), ("budget", math.nan), ("figure", "x.png")],
)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be "):
        rounds.run_bench(**{name: value}, peers=name == "budget")
