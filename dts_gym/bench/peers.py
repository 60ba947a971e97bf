"""Public bandit libraries' LinTS and LinUCB beside ours: rounds timed in one process, as ratios.

Each library is used as its documentation describes, in its fastest way: predictions of all contexts in one call,
updates by ``partial_fit``. Its treatment of actions not played yet is left at its default.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from dts_gym.harness.figures import COLOURS
from dts_gym.priors.random_priors import random_linear_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream

METHODS = ("LinTS", "LinUCB")
# K, d and the number of played actions.
SIZES = ((100, 5, 100), (1000, 20, 1000), (10_000, 20, 4000), (10_000, 20, 10_000))
BATCH = 256
# Our numbers of rounds of one context and of a batch; peers play as many, or as a budget of CPU seconds allows.
_ROUNDS = {1: 200, BATCH: 20}


class PeerTiming(NamedTuple):
    """Median CPU seconds of a round (act and update), by library; ``OURS`` is one of them."""

    num_actions: int
    dim: int
    played: int
    batch: int
    method: str
    seconds: dict[str, float]
    stored_pass: float  # for one product with the matrices of all played actions that our agent reads


OURS = "dts_gym"


class _Learner(Protocol):
    def act(self, contexts: Array) -> Any:
        """Actions for contexts (n, d)."""

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Learn from n rewards."""


class _MABWiser:
    def __init__(self, method: str, num_actions: int, _: int) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        policy = {"LinTS": LearningPolicy.LinTS, "LinUCB": LearningPolicy.LinUCB}[method]
        self._model = MAB(arms=list(range(num_actions)), learning_policy=policy(alpha=1.0, l2_lambda=1.0))

    def act(self, contexts: Array) -> Any:
        return self._model.predict(contexts)

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        self._model.partial_fit(actions, rewards, contexts)  # the first call fits


class _BayesianBandits:
    def __init__(self, method: str, num_actions: int, _: int) -> None:
        import bayesianbandits as bb

        # The 84 % quantile is one standard deviation above the mean.
        policy = {"LinTS": bb.ThompsonSampling, "LinUCB": lambda: bb.UpperConfidenceBound(alpha=0.84)}[method]()
        arms = [bb.Arm(a, learner=bb.NormalRegressor(alpha=1.0, beta=1.0)) for a in range(num_actions)]
        self._agent = bb.ContextualAgent(arms, policy, random_seed=0)

    def act(self, contexts: Array) -> Any:
        return self._agent.pull(contexts)

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        for action in np.unique(actions).tolist():
            rows = actions == action
            self._agent.select_for_update(action).update(contexts[rows], rewards[rows])


class _ContextualBandits:
    def __init__(self, method: str, num_actions: int, _: int) -> None:
        from contextualbandits import online

        # LinTS draws scores. Its draws of coefficients (``sample_from="coef"``) do not distinguish a good
        # arm from a bad one in version 0.3.30 with NumPy 2.
        settings = {"LinTS": {"sample_from": "ci", "method": "sm"}, "LinUCB": {}}[method]
        self._model = getattr(online, method)(num_actions, fit_intercept=False, random_state=1, **settings)

    def act(self, contexts: Array) -> Any:
        return self._model.predict(contexts)

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        # It requires binary rewards; the cost does not depend on them.
        self._model.partial_fit(contexts, actions, (rewards > 0).astype(np.float64))


class _Ours:
    def __init__(self, method: str, num_actions: int, dim: int) -> None:
        problem = BanditProblem(num_actions, dim, random_linear_prior(dim, 1, seed=0), GaussianReward(1.0))
        self.agent: Any = make_agent(method, problem, seed=0)

    def act(self, contexts: Array) -> Any:
        return self.agent.act(contexts if len(contexts) > 1 else contexts[0])

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        if len(contexts) > 1:
            self.agent.update(contexts, actions, rewards)
        else:
            self.agent.update(contexts[0], int(actions[0]), float(rewards[0]))


_Maker = Callable[[str, int, int], _Learner]
# For each library: its name in the table, its package, its constructor, its methods, whether batches are timed.
_PEERS: tuple[tuple[str, str, _Maker, tuple[str, ...], bool], ...] = (
    ("contextualbandits", "contextualbandits", _ContextualBandits, METHODS, True),
    ("mabwiser", "mabwiser", _MABWiser, METHODS, True),
    ("bayesianbandits", "bayesianbandits", _BayesianBandits, ("LinTS",), True),
    # Its bound is a quantile of 1000 draws: 256 contexts at K=1000 take minutes.
    ("bayesianbandits", "bayesianbandits", _BayesianBandits, ("LinUCB",), False),
)


def installed_peers() -> list[str]:
    """The installed libraries to compare with."""
    return [name for name in dict.fromkeys(peer[1] for peer in _PEERS) if importlib.util.find_spec(name) is not None]


def peer_versions() -> str:
    """The installed libraries, with their versions."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in installed_peers())


def num_rows(sizes: tuple[tuple[int, int, int], ...] = SIZES) -> int:
    """The number of rows that `time_peers` measures."""
    return len(sizes) * len(METHODS) * len(_ROUNDS)


def time_peers(budget: float, seed: int, sizes: tuple[tuple[int, int, int], ...] = SIZES) -> Iterator[PeerTiming]:
    """Time every method at every size, with one context in a round and with `BATCH` contexts in a call.

    Parameters
    ----------
    budget : CPU seconds that a library may spend on the rounds of one row; one round is always played.
    seed : seed for contexts, rewards and our agents.
    sizes : triples (K, d, played).

    Raises
    ------
    ValueError
        If no library to compare with is installed.
    """
    found = installed_peers()
    if not found:
        raise ValueError(
            "peers must be installed (extra `peers`: mabwiser, bayesianbandits, contextualbandits), got none"
        )
    for K, d, played in sizes:
        for method in METHODS:
            rng = stream(seed, "history")
            contexts, rewards = rng.uniform(-1, 1, (played, d)), rng.standard_normal(played)
            seconds: dict[int, dict[str, float]] = {n: {} for n in _ROUNDS}
            ours = _Ours(method, K, d)
            learners: list[tuple[str, _Learner, bool]] = [(OURS, ours, True)]
            for name, package, make, methods, batches in _PEERS:
                if package in found and method in methods:
                    learners.append((name, make(method, K, d), batches))
            for name, learner, batches in learners:
                learner.update(contexts, np.arange(played), rewards)
                for n in _ROUNDS if batches else (1,):
                    seconds[n][name] = _median_round(learner, n, d, played, budget, seed)
            table = ours.agent._posterior.table
            for n in _ROUNDS:
                query = rng.standard_normal(table.packed_dim) if n == 1 else rng.standard_normal((table.packed_dim, n))
                stored = _median([_cpu_seconds(np.matmul, table.cov, query) for _ in range(_ROUNDS[n])])
                yield PeerTiming(K, d, played, n, method, seconds[n], stored)


def _median_round(learner: _Learner, n: int, d: int, played: int, budget: float, seed: int) -> float:
    """Median CPU seconds of act and update; updates use played actions, so that their number stays the same."""
    rng = stream(seed, "contexts")
    times: list[float] = []
    while len(times) < _ROUNDS[n] and sum(times) < budget:
        contexts, actions = rng.uniform(-1, 1, (n, d)), rng.integers(played, size=n)
        rewards = rng.standard_normal(n)
        times.append(_cpu_seconds(_play, learner, contexts, actions, rewards))
    return _median(times)


def _play(learner: _Learner, contexts: Array, actions: IntArray, rewards: Array) -> None:
    learner.act(contexts)
    learner.update(contexts, actions, rewards)


def _median(times: list[float]) -> float:
    return float(np.median(times))


def _cpu_seconds(job: Callable[..., Any], *arguments: Any) -> float:
    """The process's own time: on a busy machine, waiting would add to measurements longer than a time slice."""
    start = time.process_time()
    job(*arguments)
    return time.process_time() - start


def peer_table(timings: list[PeerTiming]) -> str:
    """The timings as text: CPU milliseconds, and the ratio of the best other time to ours."""
    names = list(dict.fromkeys(name for timing in timings for name in timing.seconds))
    head = f"{'K':>6} {'d':>3} {'played':>7} {'contexts':>9} {'method':<7}"
    lines = [head + "".join(f" {name + ' ms':>{len(name) + 3}}" for name in names) + " best other / ours  ours / pass"]
    for K, d, played, n, method, seconds, stored in timings:
        line = f"{K:>6} {d:>3} {played:>7} {n:>9} {method:<7}"
        for name in names:
            text = f"{seconds[name] * 1e3:.3f}" if name in seconds else "-"
            line += f" {text:>{len(name) + 3}}"
        line += f" {best_ratio(seconds):>17.1f} {seconds[OURS] / stored:>12.2f}"
        lines.append(line)
    lines.append("CPU time of a round (act and update); a pass is one product with the played actions' packed matrices")
    return "\n".join(lines)


def best_ratio(seconds: dict[str, float]) -> float:
    """The fastest other library's time divided by ours."""
    return min(value for name, value in seconds.items() if name != OURS) / seconds[OURS]


def peer_figure(timings: list[PeerTiming], path: Path) -> None:
    """Draw the CPU time of a round against K, log-log, all actions played, a panel for each method and batch size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    full = [timing for timing in timings if timing.played == timing.num_actions]
    names = list(dict.fromkeys(name for timing in full for name in timing.seconds))
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, len(METHODS) * len(_ROUNDS), sharey=True)
    for panel, (n, method) in zip(panels, [(n, method) for n in _ROUNDS for method in METHODS], strict=True):
        rows = [timing for timing in full if (timing.method, timing.batch) == (method, n)]
        for index, name in enumerate(names):
            points = [(row.num_actions, row.seconds[name] * 1e3) for row in rows if name in row.seconds]
            if points:
                xs, ys = zip(*points, strict=True)
                panel.loglog(xs, ys, marker="o", markersize=3, label=name, color=COLOURS[index % len(COLOURS)])
        panel.set_title(f"{method}, {n} context{'s' if n > 1 else ''} a call", fontsize=9)
        panel.set_xlabel("actions, all played")
    panels[0].set_ylabel("CPU ms a round")
    panels[0].legend(fontsize=6)
    FigureCanvasAgg(figure)
    with io.BytesIO() as image:
        figure.savefig(image, format="png", dpi=100)
        write_atomically(path, lambda file: file.write(image.getvalue()))
