"""Measures a round as ratios within one run: an agent's round against one pass over its matrices."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dts_gym.bench.compiled import SIZES, check_compiled, compiled_table, measure_compiled
from dts_gym.bench.machine import machine
from dts_gym.bench.peers import num_rows, peer_figure, peer_table, peer_versions, time_peers
from dts_gym.bench.serving import CASES, measure_serving, serving_table
from dts_gym.bench.together import run_together_bench
from dts_gym.priors.random_priors import even_chain
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.arrays import Array
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, integer, positive

_AGENTS = ("dTS", "dUCB", "LinTS", "LinUCB")
_MOST_PLAYED = 4000
# Number of rewards in a batch, and the size at which batches are timed.
_BATCH = 256
# Number of rounds of one precision before the other's turn, so that its matrices are in the cache as they are in play.
_STRETCH = 10


class Setting(NamedTuple):
    """A size to time: K, d, L."""

    num_actions: int
    dim: int
    depth: int = 2


SETTINGS = (
    Setting(100, 5),
    Setting(1000, 20),
    Setting(10_000, 20),
    Setting(10_000, 20, 40),
    Setting(1_000_000, 20),
)


class Timing(NamedTuple):
    """Median microseconds of one setting, all measured in turn, and the bytes of dTS's state."""

    setting: Setting
    played: int
    agents: dict[str, float]
    einsum: float | None
    blas_pass: float
    state_bytes: int


def run_bench(
    rounds: int = 5000,
    repeats: int = 300,
    seed: int = 0,
    fast: bool = False,
    serving: bool = False,
    lockstep: bool = False,
    peers: bool = False,
    budget: float = 3.0,
    figure: Path | None = None,
    progress: bool = True,
) -> str:
    """Time a round (act + update) of dTS, dUCB, LinTS and LinUCB against one BLAS pass over the played covariances.

    Parameters
    ----------
    rounds :
        Number of updates before the timing; the first min(K, 4000) of them play a new action each.
    repeats :
        Number of rounds timed; every round times each agent and the pass in turn.
    seed :
        Seed for the problems and agents.
    fast :
        Time rounds that are compiled (extra ``fast``) against rounds by NumPy instead.
    serving :
        Time choices for 256 contexts at once against one matrix product instead; with ``fast`` after it.
    lockstep :
        Time runs that advance together against runs one by one instead, as ``dts-gym bench-together`` does by itself;
        with ``fast`` or ``serving`` after them.
    peers :
        Time LinTS and LinUCB against the installed public libraries (extra ``peers``) instead.
    budget :
        With ``peers``, CPU seconds that a library may spend on the rounds of one row; at least one is played.
    figure :
        With ``peers``, the PNG to write.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        A table. Times are medians of the process's own CPU time, so that waiting on a busy machine does not count (all
        threads do: set ``OPENBLAS_NUM_THREADS=1``). Compare them within the table only, never between runs or machines.
    """
    count, times = integer("rounds", rounds, 1), integer("repeats", repeats, 1)
    root, shown = integer("seed", seed, 0), boolean("progress", progress)
    parts = [boolean("fast", fast), boolean("serving", serving), boolean("lockstep", lockstep)]
    if boolean("peers", peers):
        if any(parts):
            raise ValueError("peers must be left out where fast, serving or lockstep is asked for")
        rows = time_peers(positive("budget", budget), root)
        found = list(progress_bar(rows, shown, num_rows(), "rows"))
        if figure is not None:
            peer_figure(found, figure)
        return f"{peer_table(found)}\n{peer_versions()}\n{machine()}"
    if figure is not None:
        raise ValueError(f"figure must be left out without peers, got {figure}")
    texts = []
    if fast:
        check_compiled()
        bar = progress_bar(SIZES, shown, len(SIZES), "sizes")
        texts.append(compiled_table([measure_compiled(K, d, times, root) for K, d in bar]))
    if serving:
        bar = progress_bar(CASES, shown, len(CASES), "batches")
        texts.append(serving_table([measure_serving(agent, dtype, max(1, times // 30), root) for agent, dtype in bar]))
    if lockstep:
        texts.append(run_together_bench(seed=root, progress=shown))
    if not texts:
        bar = progress_bar(SETTINGS, shown, len(SETTINGS), "settings")
        timings = [measure(setting, count, times, root) for setting in bar]
        texts.append("\n".join([bench_table(timings), *_batch_lines(times, root)]))
    return "\n".join([*texts, machine()])


def _batch_lines(repeats: int, seed: int) -> list[str]:
    """What batches of rewards and the matrices' precision change, as text."""
    setting = Setting(10_000, 20)
    loop, batch = measure_batch(setting, max(3, repeats // 20), seed)
    line = f"update of {_BATCH} rewards at K=10^4, d=20, all played: one batch over one by one {batch / loop:.3f}"
    lines = [f"{line} ({batch:.0f} µs)"]
    for played in (_MOST_PLAYED, setting.num_actions):
        ratios = []
        for n in (1, _BATCH):
            wide, narrow = measure_dtypes(setting, played, n, max(1, repeats // (15 * n)), seed)
            ratios.append(f"{wide / narrow:.2f} ({narrow:.0f} µs) with {n} context{'s' if n > 1 else ''}")
        lines.append(f"dTS at K=10^4, d=20, {played} played: float64 over float32 {', '.join(ratios)}")
    return lines


def measure(setting: Setting, rounds: int, repeats: int, seed: int) -> Timing:
    """Time one setting."""
    K, d, L = setting
    problem = BanditProblem(K, d, even_chain(d, L, seed), GaussianReward(1.0))
    agents = {name: make_agent(name, problem, seed=seed) for name in _AGENTS}
    rng = stream(seed, "history")
    played = min(K, _MOST_PLAYED, rounds)
    targets = np.concatenate([np.arange(played), rng.integers(played, size=rounds - played)])
    theta = problem.prior.sample(rng, played)

    def observed(action: int) -> tuple[Array, float]:
        x = rng.uniform(-1, 1, d)
        return x, float(x @ theta[action] + rng.standard_normal())

    for action in targets.tolist():
        x, y = observed(action)
        for agent in agents.values():
            agent.update(x, action, y)
    covariances = rng.standard_normal((played, d, d))
    einsum = _EinsumLinTS(K, d, rng) if played == K and d <= 5 else None

    def round_of(agent: Any) -> Callable[[Array, int, float], Any]:
        # The update uses a played action, so that the number of played actions stays the same.
        return lambda x, action, y: (agent.act(x), agent.update(x, action, y))

    jobs: dict[str, Callable[[Array, int, float], Any]] = {name: round_of(agent) for name, agent in agents.items()}
    jobs["pass"] = lambda x, action, y: covariances.reshape(-1, d) @ x
    if einsum is not None:
        jobs["einsum"] = einsum.round
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        action = int(rng.integers(played))
        x, y = observed(action)
        for name, job in jobs.items():
            start = time.process_time()
            job(x, action, y)
            seconds[name].append(time.process_time() - start)
    median = {name: float(np.median(part)) * 1e6 for name, part in seconds.items()}
    state_bytes = sum(array.nbytes for array in agents["dTS"]._state().values())
    return Timing(
        setting, played, {name: median[name] for name in _AGENTS}, median.get("einsum"), median["pass"], state_bytes
    )


def measure_batch(setting: Setting, repeats: int, seed: int) -> tuple[float, float]:
    """Median microseconds of dTS for an update of 256 rewards, all actions played: in a loop, and as one batch."""
    K, d, L = setting
    problem = BanditProblem(K, d, even_chain(d, L, seed), GaussianReward(1.0))
    looped, batched = (make_agent("dTS", problem, seed=seed) for _ in range(2))
    rng = stream(seed, "history")
    contexts, rewards = rng.uniform(-1, 1, (K, d)), rng.standard_normal(K)
    for agent in (looped, batched):
        agent.update(contexts, np.arange(K), rewards)
    seconds = np.empty((repeats, 2))
    for i in range(repeats):
        contexts, actions = rng.uniform(-1, 1, (_BATCH, d)), rng.integers(K, size=_BATCH)
        rewards = rng.standard_normal(_BATCH)
        start = time.process_time()
        for x, action, y in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
            looped.update(x, action, y)
        between = time.process_time()
        batched.update(contexts, actions, rewards)
        seconds[i] = between - start, time.process_time() - between
    loop, batch = np.median(seconds, axis=0) * 1e6
    return float(loop), float(batch)


def measure_dtypes(setting: Setting, played: int, batch: int, stretches: int, seed: int) -> tuple[float, float]:
    """Median microseconds of dTS for a round of ``batch`` contexts, with float64 and with float32 matrices."""
    K, d, L = setting
    problem = BanditProblem(K, d, even_chain(d, L, seed), GaussianReward(1.0))
    agents = [make_agent("dTS", problem, seed=seed, dtype=dtype) for dtype in ("float64", "float32")]
    rng = stream(seed, "history")
    contexts, rewards = rng.uniform(-1, 1, (min(played, K), d)), rng.standard_normal(min(played, K))
    for agent in agents:
        agent.update(contexts, np.arange(len(contexts)), rewards)
    seconds: list[list[float]] = [[], []]
    for _ in range(stretches):
        rounds = [
            (rng.uniform(-1, 1, (batch, d)), rng.integers(len(contexts), size=batch), rng.standard_normal(batch))
            for _ in range(_STRETCH)
        ]
        for agent, times in zip(agents, seconds, strict=True):
            for x, action, y in rounds:
                arguments = (x[0], int(action[0]), float(y[0])) if batch == 1 else (x, action, y)
                start = time.process_time()
                agent.act(arguments[0])
                agent.update(*arguments)
                times.append(time.process_time() - start)
    wide, narrow = (float(np.median(times)) * 1e6 for times in seconds)
    return wide, narrow


class _EinsumLinTS:
    """LinTS written directly with einsum: the reference at small sizes."""

    def __init__(self, num_actions: int, dim: int, rng: np.random.Generator) -> None:
        self.cov = np.tile(np.eye(dim), (num_actions, 1, 1))
        self.mean = np.zeros((num_actions, dim))
        self.rng = rng

    def round(self, x: Array, action: int, y: float) -> int:
        """One act and update."""
        variance = np.einsum("kij,i,j->k", self.cov, x, x)
        best = int((self.mean @ x + np.sqrt(variance) * self.rng.standard_normal(len(variance))).argmax())
        gain = self.cov[action] @ x
        gain /= 1.0 + x @ gain
        self.mean[action] += gain * (y - self.mean[action] @ x)
        self.cov[action] -= np.outer(gain, x @ self.cov[action])
        return best


def bench_table(timings: list[Timing]) -> str:
    """The timings as text, with the important ratios below."""
    head = f"{'K':>9} {'d':>3} {'L':>3} {'played':>7} {'pass µs':>8}" + "".join(
        f" {name + ' µs':>10} {'/ pass':>7}" for name in _AGENTS
    )
    lines = [head + f" {'dTS bytes / played':>19}"]
    for timing in timings:
        K, d, L = timing.setting
        line = f"{K:>9} {d:>3} {L:>3} {timing.played:>7} {timing.blas_pass:>8.1f}"
        line += "".join(
            f" {timing.agents[name]:>10.1f} {timing.agents[name] / timing.blas_pass:>7.2f}" for name in _AGENTS
        )
        lines.append(line + f" {timing.state_bytes / timing.played:>19.0f}")
    by_setting = {timing.setting: timing for timing in timings}
    small = by_setting.get(Setting(100, 5))
    if small is not None and small.einsum is not None:
        ratio = small.agents["dTS"] / small.einsum
        lines.append(f"dTS over a LinTS round in einsum at K=100, d=5: {ratio:.2f} ({small.einsum:.1f} µs)")
    base = by_setting.get(Setting(10_000, 20))
    for other, text in ((Setting(1_000_000, 20), "K=10^6 over K=10^4"), (Setting(10_000, 20, 40), "L=40 over L=2")):
        if base is not None and other in by_setting:
            ratio = by_setting[other].agents["dTS"] / base.agents["dTS"]
            lines.append(f"dTS at {text}, d=20, equal played: {ratio:.2f}")
    return "\n".join(lines)
