"""Which exploration an agent chooses: candidates played on what it believes, in stages that drop those that lose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dts_gym.agents.auto.exploration_tuning import ExplorationTuning
from dts_gym.agents.auto.simulation import Contexts, rewards_of
from dts_gym.datasets.download import cache_folder
from dts_gym.harness.teams import advance_together
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.exploration import Exploration
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.caching import cached
from dts_gym.utils.progress import progress_count
from dts_gym.utils.text_files import parse_json

_FORMAT = 1  # raised when the same question has another answer
# Candidates; the first of an agent's is kept unless another is better beyond doubt.
BOUNDS = (
    Exploration("horizon", True),
    *(Exploration("horizon", True, factor) for factor in (0.7, 0.5, 0.3)),
    *(Exploration(scale, True) for scale in (0.25, 0.5, 1.0, 1.5)),
)
DRAWS = (
    Exploration(1.0, False),
    *(Exploration(scale, False) for scale in (0.7, 0.5, 0.35, 0.25, 0.125)),
    *(Exploration("decay", False, factor) for factor in (1.0, 0.5)),
)
# Beside bounds on the same posterior other draws are not worth their simulation.
DRAWS_BESIDE = (Exploration(0.5, False), Exploration(0.25, False))
# Where runs are not stacked, or chains are by particles, there is time for a few.
_SMALL = (BOUNDS[0], Exploration("horizon", True, 0.5), DRAWS[0], Exploration(0.5, False), Exploration(0.25, False))
# Runs that stacked agents play, with at most 1000 numbers in all matrices of one and with more, and runs of others; and
# the most instance-rounds of each. They take no more time than some 60 runs by themselves.
_SMALL_STACKED, _STACKED, _SINGLE = (1500, 20_000_000), (700, 20_000_000), (48, 1_000_000)
_SMALL_SIZE = 1000
_FIRST, _MOST = 16, 512  # instances of the first stage at most, and of all
_SHORTEST = 2  # rounds, below which nothing is simulated
_LOST, _SURE = 2.5, 2.0  # standard errors by which a candidate is dropped, and by which one is preferred
_ENOUGH = 12  # instances, below which no candidate is preferred


def family(ways: Sequence[str], small: bool = False) -> tuple[Exploration, ...]:
    """The candidates of an agent that explores by "bounds", by "draws", or by any of them; the first is its default."""
    parts = {"bounds": BOUNDS, "draws": DRAWS if len(ways) == 1 else DRAWS_BESIDE}
    return tuple(rule for way in sorted(ways) for rule in parts[way] if not small or rule in _SMALL)


def choose(agent: Any, contexts: Contexts, num_rounds: int, seed: int, tuning_rounds: int | None) -> ExplorationTuning:
    """The exploration that an agent should follow for a number of rounds, by simulation of what it believes.

    Parameters
    ----------
    agent : an agent that has learned nothing.
    contexts : what contexts are believed to be like.
    num_rounds : number of rewards that it will learn.
    seed : seed for the simulation.
    tuning_rounds : most rounds to simulate, summed over runs; None: a number that follows from the sizes.

    Notes
    -----
    The answer is kept in memory, unless the problem's prior cannot be saved, and in the cache folder, unless that
    cannot be written or a class of the user's own takes part, whose code may change.
    """
    question = _Question(agent, contexts, num_rounds, seed, tuning_rounds)
    return _answer(question) if question.key is not None else _simulated(question)


class _Question:
    """Equal where the answer is: agents of equal settings and problems, whatever their streams."""

    def __init__(self, agent: Any, contexts: Contexts, num_rounds: int, seed: int, tuning_rounds: int | None) -> None:
        self.agent, self.contexts, self.num_rounds = agent, contexts, num_rounds
        self.seed, self.tuning_rounds = seed, tuning_rounds
        self.key: str | None = None
        try:
            settings, arrays = agent.problem.state()
        except ValueError:  # a prior of the user's own that cannot be saved
            return
        free = ("exploration", "horizon", "contexts", "tuning_rounds")
        own = {name: value for name, value in agent._settings.items() if name not in free}
        told = [_FORMAT, f"{type(agent).__module__}:{type(agent).__qualname__}", settings, num_rounds, seed]
        told += [tuning_rounds, contexts.fixed, [str(rule) for rule in family(agent._explores_by)]]
        told.append({name: value for name, value in own.items() if not isinstance(value, np.ndarray)})
        arrays = {**arrays, "contexts": contexts.rows}
        arrays |= {f"setting.{name}": value for name, value in own.items() if isinstance(value, np.ndarray)}
        arrays |= {f"state.{name}": value for name, value in agent._posterior.state().items()}
        self.key = _digest(told, arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Question) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


def _digest(told: Any, arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:32]


@lru_cache(maxsize=32)
def _answer(question: _Question) -> ExplorationTuning:
    agent = question.agent
    parts = (agent, agent.problem.prior, agent.reward_model)
    if not all(type(part).__module__.startswith("dts_gym.") for part in parts):
        return _simulated(question)
    path = cache_folder() / "explorations" / f"{question.key}.json"

    def make() -> ExplorationTuning:
        found = _simulated(question)
        text = json.dumps(found.state()).encode()
        with suppress(OSError):
            write_atomically(path, lambda file: file.write(text))
        return found

    try:
        return cached(path, lambda: _read(path), make, "the cached choice of exploration is made anew")
    except OSError:  # no folder can be made there, or no lock
        return _simulated(question)


def _read(path: Path) -> ExplorationTuning:
    return ExplorationTuning.from_state(parse_json(path.read_bytes()))


def _simulated(question: _Question) -> ExplorationTuning:
    agent, n = question.agent, question.num_rounds
    engine = getattr(agent._posterior, "engine", agent._posterior)
    # Particles and expansions take most of the time, whether runs are stacked or not.
    stacked = advance_together([agent]) and not isinstance(engine, (ChainPosterior, GLMPosterior))
    runs, most = _SINGLE
    if stacked:
        d = agent.problem.dim
        is_small = agent.problem.num_actions * d * (d + 1) // 2 <= _SMALL_SIZE
        runs, most = _SMALL_STACKED if is_small else _STACKED
    rules = family(agent._explores_by, small=not stacked)
    budget = min(runs * n, most) if question.tuning_rounds is None else question.tuning_rounds
    allowed = budget // n if n >= _SHORTEST else 0

    with progress_count(allowed * n, "choosing the exploration") as bar:

        def play(alive: Sequence[int], first: int, count: int) -> Array:
            asked, numbers = [rules[i] for i in alive], range(first, first + count)
            return rewards_of(agent, asked, numbers, question.contexts, n, question.seed, bar.update)

        totals = staged(play, len(rules), allowed)
    return decided(rules, totals, n, question.seed)


def staged(play: Callable[[Sequence[int], int, int], Array], num_rules: int, num_runs: int) -> list[Array]:
    """Rewards of each candidate on the first instances, as many as it stayed in the race for.

    Parameters
    ----------
    play : function of candidates, the number of the first instance and a count: rewards (candidates, count).
    num_rules : number of candidates; number 0 is never dropped.
    num_runs : number of runs to play, of all candidates together.
    """
    totals = [np.empty(0)] * num_rules
    alive, played = list(range(num_rules)), 0
    step = min(_FIRST, num_runs // (2 * num_rules))
    while len(alive) > 1 and step >= 1:
        found = play(alive, played, step)
        for i, rewards in zip(alive, found, strict=True):
            totals[i] = np.concatenate([totals[i], rewards])
        played, num_runs = played + step, num_runs - step * len(alive)
        alive = _kept(alive, totals)
        step = min(played, num_runs // max(1, len(alive)), _MOST - played)
    return totals


def _kept(alive: Sequence[int], totals: Sequence[Array]) -> list[int]:
    """The better half and the first candidate, without those that are worse than the best beyond doubt."""
    order = sorted(alive, key=lambda i: -totals[i].mean())
    best = order[0]
    near = [i for i in order[: max(2, (len(order) + 1) // 2)] if not _is_ahead(totals[best], totals[i], _LOST)]
    return sorted({*near, 0})


def _is_ahead(one: Array, other: Array, errors: float) -> bool:
    """Whether paired rewards are larger by that many standard errors."""
    gain = one - other
    return len(gain) > 1 and bool(gain.mean() > errors * gain.std(ddof=1) / np.sqrt(len(gain)))


def decided(rules: Sequence[Exploration], totals: Sequence[Array], num_rounds: int, seed: int) -> ExplorationTuning:
    """Of the candidates that stayed to the end, the best that is ahead of the first by two standard errors."""
    counts: IntArray = np.array([len(total) for total in totals])
    gain, error = np.zeros(len(rules)), np.full(len(rules), np.nan)
    for i, total in enumerate(totals):
        if len(total):
            difference = total - totals[0][: len(total)]
            gain[i] = difference.mean()
            error[i] = difference.std(ddof=1) / np.sqrt(len(total)) if len(total) > 1 else np.nan
    full = counts == max(counts.max(), _ENOUGH)
    ahead = [i for i in range(1, len(rules)) if full[i] and _is_ahead(totals[i], totals[0], _SURE)]
    chosen = max(ahead, key=lambda i: gain[i], default=0)
    return ExplorationTuning(tuple(rules), counts, gain, error, chosen, num_rounds, seed)
