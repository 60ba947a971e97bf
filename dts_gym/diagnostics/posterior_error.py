"""The distance of an agent's posterior draws from the truth, against the number of observations.

An agent learns a history, and at several lengths its draws of all actions' parameters are compared with draws of the
true posterior. `dts_gym.diagnostics.error_problems` has the histories and the truth, `dts_gym.diagnostics.error_report`
the table, the verdict and the figure.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dts_gym.diagnostics.energy import energy_score
from dts_gym.diagnostics.error_problems import ALL_PROBLEMS, GROUPS, PROBLEMS, ErrorProblem
from dts_gym.diagnostics.error_records import (
    CONTROL,
    ErrorRecord,
    ErrorSettings,
    PosteriorErrors,
    made_folder,
    states_of,
    whole_histories,
    write_records,
)
from dts_gym.diagnostics.reweighted_prior import PriorPool
from dts_gym.diagnostics.truth import make_history, pretrained_pool, true_posterior
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.jobs import checked_seeds
from dts_gym.pretraining.trainer import torch_on
from dts_gym.registry import make_agent
from dts_gym.utils.arrays import Array
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.seeding import seed_sequence
from dts_gym.utils.validation import integer

if TYPE_CHECKING:
    from dts_gym.agents import PosteriorAgent

OBSERVATIONS = (1, 10, 100, 1000)
_KEY = 61  # fixed for ever, as the keys of `dts_gym.utils.seeding`


def posterior_error(
    problems: Sequence[str] = tuple(PROBLEMS),
    *,
    observations: Sequence[int] = OBSERVATIONS,
    seeds: int | Sequence[int] = 5,
    draws: int = 500,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    num_workers: int = 1,
    progress: bool = False,
) -> PosteriorErrors:
    """Compare posterior draws of every method with the true posterior.

    Parameters
    ----------
    problems : names among "linear", "mlp", "bernoulli", "poisson", "mlp-bernoulli"; and among shapes, on which a prior
        is pre-trained first (with torch): "cross", "rays", "triangles", "swirl", "H", "corners" (all six: "planar") and
        "swiss-roll".
    observations : numbers of observations after which an agent's draws are compared while it learns a history.
    seeds : number of histories of each problem, or their seeds.
    draws : number of draws of each method, at least 50; the truth has twice as many.
    out : a new or empty folder for ``errors.csv`` (a row for each record, written as histories finish) and
        ``settings.json``; None keeps none.
    resume : whether to keep the histories that ``out`` holds and compute the others; there may be more seeds than
        before.
    num_workers : number of processes; the results are the same for any number.
    progress : whether to show a bar on stderr.

    Returns
    -------
    PosteriorErrors

    Notes
    -----
    A truth is unreliable if its chains have an R-hat above 1.05 or its pool has an effective sample size below its
    number of draws: ``trusted`` is then False in its records, and the table and the verdict do not judge them. For
    shapes the truth is the posterior under the pre-trained prior, whatever that has learned of the shape.

    Raises
    ------
    ValueError
        If a problem is unknown, a number is out of range or given twice, or ``out`` holds files that are not to be
        resumed, or other settings.
    ImportError
        If a problem is a shape and torch is not installed.

    Examples
    --------
    >>> found = posterior_error(["linear"], observations=[1, 10], seeds=1, draws=50)
    >>> [record.method for record in found.records if record.observations == 10]
    ['truth', 'closed form', 'deck', 'linearised', '32 particles']
    """
    settings = checked_settings(problems, observations, seeds, draws)
    folder = None if out is None else Path(out)
    workers = integer("num_workers", num_workers, 1)
    return find_errors(settings, Conduct(folder, resume and folder is not None, num_workers=workers, progress=progress))


def checked_settings(
    problems: Sequence[str], observations: Sequence[int], seeds: int | Sequence[int], draws: int
) -> ErrorSettings:
    """Check and pack the settings of `posterior_error`; ValueError where one does not fit."""
    return ErrorSettings(
        problems=_different("problems", _ungrouped(problems), _known),
        observations=tuple(sorted(_different("observations", observations, lambda n: integer("observations", n, 1)))),
        seeds=checked_seeds("seeds", seeds),
        draws=integer("draws", draws, 50),
    )


def find_errors(settings: ErrorSettings, conduct: Conduct) -> PosteriorErrors:
    """Compute the results of `posterior_error`, on workers of any kind."""
    if any(ALL_PROBLEMS[name].shape for name in settings.problems):
        torch_on("cpu")
    with conduct.lock_folder():
        return _found(settings, conduct)


def _found(settings: ErrorSettings, conduct: Conduct) -> PosteriorErrors:
    folder = made_folder(conduct, settings)
    found = [] if folder is None else whole_histories(folder, settings)
    done = {(record.problem, record.seed) for record in found}
    total = len(settings.problems) * len(settings.seeds) - len(done)
    states = () if folder is None else states_of(folder, now=total > 0)
    for records in progress_bar(_results(settings, conduct, done), conduct.progress, total, "histories"):
        found = sorted([*found, *records], key=lambda record: _place(settings, record))
        if folder is not None:
            write_records(folder / "errors.csv", found)
    return PosteriorErrors(settings, tuple(found), states)


def history_errors(
    problem: ErrorProblem, observations: Sequence[int], seed: int, draws: int, pool: PriorPool | None = None
) -> list[ErrorRecord]:
    """Compute the records of one history, ``observations`` ascending, for any problem.

    ``pool`` comes from `pretrained_pool` for a problem with a shape, and is None for the others.
    """
    root = np.random.SeedSequence(seed, spawn_key=(_KEY, zlib.crc32(problem.name.encode())))
    history = make_history(problem, observations[-1], root, None if pool is None else pool.prior)
    agents: dict[str, PosteriorAgent[Any]] = {
        method.label: make_agent(method.agent, history.problem, seed=seed_sequence(root, "agent"), **method.settings)  # type: ignore[misc]
        for method in problem.methods
    }
    records, start = [], 0
    for n in observations:
        truth = true_posterior(history, n, draws, _numbered(root, "parameters", n), pool)
        compared = {CONTROL: truth.control}
        for label, agent in agents.items():
            agent.update(*(part[start:n] for part in history[1:]))
            compared[label] = agent.sample_parameters(draws).reshape(draws, -1)
        whitener = _Whitener(truth.draws)
        for label, sample in compared.items():
            score = energy_score(sample, truth.draws, _numbered(root, "split", n))
            errors = whitener.errors(sample)
            trust = truth.sampler, truth.r_hat, truth.effective_draws, truth.trusted
            numbers = *errors, score.distance, score.noise_floor, score.z_score
            records.append(ErrorRecord(problem.name, n, label, seed, *numbers, *trust))
        start = n
    return records


class _Whitener:
    """Computes errors of a sample's moments in units of the truth's."""

    def __init__(self, truth: Array) -> None:
        self._mean = truth.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(truth.T))
        self._map = vectors / np.sqrt(values)  # (D, D)

    def errors(self, sample: Array) -> tuple[float, float]:
        """Mean error and covariance error."""
        white = (sample - self._mean) @ self._map
        D = white.shape[1]
        excess = np.cov(white.T) - np.eye(D)
        return float(np.linalg.norm(white.mean(axis=0))) / D**0.5, float(np.linalg.norm(excess)) / D**0.5


def _results(settings: ErrorSettings, conduct: Conduct, done: set[tuple[str, int]]) -> Iterator[list[ErrorRecord]]:
    """Yield the missing histories as they finish: first those of drawn priors together, then shape by shape.

    Priors are learned here, not in the workers: once, and with the same threads whatever the number of workers.
    """
    problems = [ALL_PROBLEMS[name] for name in settings.problems]
    drawn = [problem for problem in problems if problem.shape is None]
    with conduct.open_pool() as work:
        for group in ([drawn] if drawn else []) + [[problem] for problem in problems if problem.shape is not None]:
            left = [(each, seed) for each in group for seed in settings.seeds if (each.name, seed) not in done]
            if not left:
                continue
            pool = None if group[0].shape is None else pretrained_pool(group[0], settings.draws)
            asked = [(each, settings.observations, seed, settings.draws, pool) for each, seed in left]
            yield from work(history_errors, asked)


def _place(settings: ErrorSettings, record: ErrorRecord) -> tuple[int, ...]:
    methods = [CONTROL, *(method.label for method in ALL_PROBLEMS[record.problem].methods)]
    return (
        settings.problems.index(record.problem),
        record.observations,
        methods.index(record.method),
        settings.seeds.index(record.seed),
    )


def _numbered(seed: np.random.SeedSequence, purpose: str, number: int) -> np.random.Generator:
    """A separate random stream for one purpose and number."""
    own = seed_sequence(seed, purpose)
    return np.random.default_rng(np.random.SeedSequence(own.entropy, spawn_key=(*own.spawn_key, number)))


def _known(name: Any) -> str:
    if name not in ALL_PROBLEMS:
        raise ValueError(f"problems must be among {', '.join([*ALL_PROBLEMS, *GROUPS])}, got {name!r}")
    return str(name)


def _ungrouped(names: Any) -> Any:
    """Replace names of groups by those of their problems."""
    return names if isinstance(names, str) else [part for name in names for part in GROUPS.get(name, (name,))]


def _different(name: str, values: Any, check: Any) -> tuple[Any, ...]:
    if isinstance(values, str):
        raise ValueError(f"{name} must be a list, got {values!r}")
    checked = tuple(check(value) for value in values)
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(f"{name} must be at least one, none of them twice, got {list(values)!r:.200}")
    return checked
