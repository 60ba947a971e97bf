r"""Simulation-based calibration: are an agent's posterior draws draws of the posterior?

Draw theta from the prior, rewards given theta, and M independent draws of the agent's posterior given the rewards.
If these are draws of the true posterior, theta and the draws are M + 1 exchangeable draws of one distribution: the rank
of any function of theta among the draws is uniform on 0..M, whatever the data. So the ranks of many simulations reveal
a wrong posterior, and the shape of their histogram how it is wrong, although the true posterior is unknown:

    more ranks at both ends than in the middle    the posterior is too narrow
    more in the middle                            it is too wide
    more at the high (low) end                    it is too low (high): the draws lie below (above) the truth

Three tests examine the ranks: a chi-square over bins, their mean (shift), and their mean distance from the middle
(spread). Uniform ranks are necessary, not sufficient: functions that were not tested may be wrong. The log-likelihood
is among the tested functions, because it depends on the data too, and so reveals a posterior that has not learned.

Source: Talts, Betancourt, Simpson, Vehtari and Gelman, "Validating Bayesian inference algorithms with simulation-based
calibration" (2018); for functions of theta and data, Modrak et al., "Simulation-based calibration checking for Bayesian
computation: the choice of test quantities shapes sensitivity" (2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from dts_gym.diagnostics.calibration_problems import PROBLEM_NAMES, PROBLEMS, CalibrationProblem
from dts_gym.diagnostics.rank_tests import Z_LIMIT, RankTest, rank_counts, rank_test
from dts_gym.problem.problem import BanditProblem
from dts_gym.registry import make_agent
from dts_gym.utils.arrays import IntArray
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.seeding import seed_sequence, stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.tables import layout
from dts_gym.utils.validation import integer
from dts_gym.utils.workers import open_pool

_PART = 20  # number of simulations in a job


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Shown):
    """The ranks of one problem's simulations.

    Parameters
    ----------
    problem : CalibrationProblem
    quantities : Q names of functions of theta.
    ranks : (N, Q) int64 ranks, each in 0..draws.
    draws : M, the number of posterior draws.
    bins : number of bins of the chi-square test.
    """

    problem: CalibrationProblem
    quantities: tuple[str, ...]
    ranks: IntArray
    draws: int
    bins: int

    @cached_property
    def tests(self) -> dict[str, RankTest]:
        """The test of every quantity."""
        columns = zip(self.quantities, self.ranks.T, strict=True)
        return {quantity: rank_test(ranks, self.draws, self.bins) for quantity, ranks in columns}

    @property
    def largest_z(self) -> float:
        """The largest absolute z-score of all tests."""
        return max(abs(z) for test in self.tests.values() for z in (test.z_score, test.shift_z, test.spread_z))

    def histogram(self) -> IntArray:
        """Number of ranks in each bin, (Q, bins)."""
        return np.array([rank_counts(ranks, self.draws, self.bins) for ranks in self.ranks.T])


def calibrate(
    problems: Sequence[str | CalibrationProblem] | None = None,
    *,
    simulations: int = 1000,
    draws: int = 63,
    bins: int = 16,
    seed: int = 0,
    num_workers: int = 1,
    progress: bool = False,
) -> list[Calibration]:
    """Compute rank statistics of agents' posteriors.

    Parameters
    ----------
    problems : problems of your own, or names among `PROBLEMS`; None: all of these.
    simulations : N, the number of simulations, at least 5 for each bin.
    draws : M, the number of posterior draws in each simulation.
    bins : number of bins of the chi-square test, 2..M+1.
    seed : seed for all random draws. Simulation i has the same theta, contexts, actions and noise in all problems of
        one shape, prior and reward family: agents are compared on the same data.
    num_workers : number of processes; the result does not depend on it.
    progress : whether to show a progress bar on stderr.

    Returns
    -------
    list of Calibration
        One for each problem, in the order of ``problems``.

    Notes
    -----
    Contexts are uniform on [-1, 1]^d, actions uniform too, and the first round plays action 0. With disjoint features
    the last of several actions is never played. The quantities are the first and the last coordinate of the played
    and of the unplayed action (or of the shared parameter), the best action's mean reward and the average over
    actions, both at a fixed context, and the log-likelihood. Ties, which occur for distributions with atoms, are broken
    at random.

    At 4.5 standard errors N = 1000 simulations detect a shift of 0.04 and a spread that is wrong by 8 %; smaller errors
    pass. The cost is N times ``num_rounds`` updates and M draws.

    Raises
    ------
    ValueError
        If a name is unknown, a number out of range, or an agent has no posterior draws.

    Examples
    --------
    >>> (result,) = calibrate(["linear"], simulations=80, draws=15, bins=4)
    >>> result.ranks.shape, result.tests["log-likelihood"].verdict
    ((80, 7), 'uniform')
    """
    asked = [_known(problem) for problem in _listed(problems)]
    M = integer("draws", draws, 1)
    B = integer("bins", bins, 2, M + 1)
    N = integer("simulations", simulations, 5 * B)
    integer("seed", seed, 0)
    integer("num_workers", num_workers, 1)
    for problem in asked:
        integer("num_rounds", problem.num_rounds, 1)
        agent = make_agent(problem.agent, problem.problem, seed=0, **(problem.settings or {}))
        if not hasattr(agent, "sample_parameters"):
            raise ValueError(f"agent must be one with posterior draws, got {problem.agent!r}")
    jobs = [(i, start) for i in range(len(asked)) for start in range(0, N, _PART)]
    ranks = [np.empty((N, len(_quantities(problem.problem))), dtype=np.int64) for problem in asked]
    parts = _parts(asked, jobs, N, M, seed, num_workers)
    for (i, start), part in progress_bar(parts, progress, len(jobs), "calibration"):
        ranks[i][start : start + len(part)] = part
    return [
        Calibration(problem, tuple(_quantities(problem.problem)), found, M, B)
        for problem, found in zip(asked, ranks, strict=True)
    ]


def calibration_table(results: Sequence[Calibration]) -> str:
    """The tests as text, a row for each quantity, with the false-alarm rate below."""
    header = ("problem", "claim", "quantity", "p", "z", "shift (z)", "spread (z)", "verdict")
    rows: list[tuple[str, ...]] = [header]
    for result in results:
        for quantity, test in result.tests.items():
            shift = f"{test.shift:+.3f} ({test.shift_z:+.1f})"
            spread = f"{test.spread:.2f} ({test.spread_z:+.1f})"
            name, claim = result.problem.name, result.problem.claim
            rows.append(
                (name, claim, quantity, f"{test.p_value:.2g}", f"{test.z_score:+.1f}", shift, spread, test.verdict)
            )
    sizes = sorted({f"{len(r.ranks)} simulations of {r.draws} draws, {r.bins} bins" for r in results})
    rate = 3 * 2 * float(ndtr(-Z_LIMIT))
    return (
        layout(rows, "text")
        + f"{'; '.join(sizes)}. Uniform: all three |z| < {Z_LIMIT}. By chance alone a row is not with probability\n"
        + f"{rate:.0e}, any of the {len(rows) - 1} with {rate * (len(rows) - 1):.0e} at most.\n"
    )


def _listed(problems: Sequence[str | CalibrationProblem] | None) -> Sequence[str | CalibrationProblem]:
    if problems is None:
        return PROBLEMS
    if isinstance(problems, str) or not len(problems):
        raise ValueError(f"problems must be a list of one at least, got {problems!r}")
    return problems


def _known(problem: str | CalibrationProblem) -> CalibrationProblem:
    if isinstance(problem, CalibrationProblem):
        return problem
    if problem not in PROBLEM_NAMES:
        raise ValueError(
            f"problems must be CalibrationProblems or names among {list(PROBLEM_NAMES)}, got {problem!r:.200}"
        )
    return PROBLEMS[PROBLEM_NAMES.index(problem)]


def _parts(
    problems: Sequence[CalibrationProblem],
    jobs: Sequence[tuple[int, int]],
    simulations: int,
    draws: int,
    seed: int,
    num_workers: int,
) -> Iterator[tuple[tuple[int, int], IntArray]]:
    """Compute the ranks of parts of the simulations, in any order."""

    def arguments(i: int, start: int) -> tuple[CalibrationProblem, int, range, int, int]:
        return problems[i], i, range(start, min(start + _PART, simulations)), draws, seed

    with open_pool(num_workers=num_workers) as pool:
        yield from pool(_part, [arguments(*job) for job in jobs])


def _part(
    problem: CalibrationProblem, number: int, indices: range, draws: int, seed: int
) -> tuple[tuple[int, int], IntArray]:
    return (number, indices[0]), np.array([_ranks(problem, index, draws, seed) for index in indices])


def _ranks(problem: CalibrationProblem, index: int, draws: int, seed: int) -> IntArray:
    """Ranks of the quantities' true values among those of the posterior draws, (Q,), in one simulation."""
    bandit, n = problem.problem, problem.num_rounds
    root = np.random.SeedSequence(seed, spawn_key=(index,))
    K, shared, model = bandit.num_actions, bandit.features == "shared", bandit.reward_model
    theta = bandit.prior.sample(stream(root, "instance"), 1 if shared else K)  # (K, d), (1, d) if shared
    contexts = stream(root, "contexts").uniform(-1.0, 1.0, (n, *bandit.context_shape))
    actions = stream(root, "history").integers(K if shared else _num_played(K), size=n)
    actions[0] = 0
    features = contexts[np.arange(n), actions] if shared else contexts  # (n, d)
    rows = np.zeros_like(actions) if shared else actions
    rewards = model.sample(stream(root, "noise"), (features * theta[rows]).sum(axis=-1))
    agent: Any = make_agent(problem.agent, bandit, seed=seed_sequence(root, "agent"), **(problem.settings or {}))
    agent.update(contexts, actions, rewards)
    drawn = [agent.sample_parameters().reshape(theta.shape) for _ in range(draws)]
    thetas = np.array([theta, *drawn])  # (M + 1, K, d), the truth first
    fixed = stream(seed, "contexts").uniform(-1.0, 1.0, bandit.context_shape)
    means = model.mean(thetas[:, 0] @ fixed.T if shared else thetas @ fixed)  # (M + 1, K)
    fit = model.log_likelihood(rewards, np.einsum("nd,mnd->mn", features, thetas[:, rows])).sum(axis=-1)
    places = [place for place in _quantities(bandit).values() if place is not None]
    theta_values = [thetas[:, a, i] for a, i in places]
    values = np.column_stack([*theta_values, means.max(axis=-1), means.mean(axis=-1), fit])  # (M + 1, Q)
    ties = (values[1:] == values[0]).sum(axis=0)
    return np.asarray((values[1:] < values[0]).sum(axis=0) + stream(root, "check").integers(ties + 1))


def _num_played(num_actions: int) -> int:
    """The number of actions that simulations play: all but the last of several."""
    return max(num_actions - 1, 1)


def _quantities(problem: BanditProblem) -> dict[str, tuple[int, int] | None]:
    """Names of the quantities: coordinates of theta with their action and coordinate, and three more."""
    K, coordinates = problem.num_actions, sorted({0, problem.dim - 1})
    places: dict[str, tuple[int, int] | None]
    if problem.features == "shared":
        places = {f"theta[{i}]": (0, i) for i in coordinates}
    else:
        actions = {"played": 0} | ({"unplayed": K - 1} if _num_played(K) < K else {})
        places = {f"{what} theta[{a}, {i}]": (a, i) for what, a in actions.items() for i in coordinates}
    return {**places, "best mean": None, "average mean": None, "log-likelihood": None}
