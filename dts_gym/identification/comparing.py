"""Rules compared on the same instances: the work of `dts_gym.compare_identification`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dts_gym.harness.code_state import code_state, distinct
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.jobs import checked_seeds
from dts_gym.harness.provenance import describe
from dts_gym.harness.user_entries import Entries, take_entries, user_entries
from dts_gym.identification import records
from dts_gym.identification.comparison import IdentificationComparison, Runs
from dts_gym.identification.games import Game, PolicyGame, advance_together, env_game, play, posed_game
from dts_gym.identification.rules import RuleSpec, rule_spec
from dts_gym.identification.scores import checked_context
from dts_gym.identification.settings import SETTINGS, Posed, pose
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.wrappers import warn_of_wrappers
from dts_gym.registry import versioned
from dts_gym.utils.arrays import Array
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.validation import integer, listed, plain
from dts_gym.utils.workers import Backend


@dataclass(frozen=True)
class Target:
    """Where rules are compared: an environment's id or the name of one of the paper's problems, or a problem.

    Parameters
    ----------
    what : the id, the name, or the problem.
    settings : arguments of ``gym.make``, or of the named problem.
    context : the context of every round, or None.
    """

    what: str | BanditProblem
    settings: Mapping[str, Any]
    context: Array | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.what if isinstance(self.what, str) else repr(self.what)

    def state(self) -> dict[str, Any]:
        """The target as JSON data."""
        parts = {"target": self.what, "settings": self.settings, "context": self.context}
        return {name: describe(name, part) for name, part in parts.items()}

    def game(self, seeds: Sequence[int]) -> Game:
        """The runs of these seeds; only of one seed where `groups` has each by itself."""
        if isinstance(self.what, BanditProblem):
            return posed_game([Posed(self.what, checked_context(self.what, self.context))] * len(seeds), seeds)
        if self.what in SETTINGS:
            return posed_game([pose(self.what, self.settings, seed) for seed in seeds], seeds)
        return env_game(gym.make(self.what, disable_env_checker=True, **self.settings), seeds, self.context)

    def groups(self, seeds: Sequence[int]) -> list[list[int]]:
        """The seeds in groups whose runs advance together: all where the belief is exact, else each by itself."""
        if isinstance(self.what, str) and self.what in SETTINGS:
            return [list(seeds)]
        if isinstance(self.what, BanditProblem):
            together = advance_together(Posed(self.what, checked_context(self.what, self.context)))
        else:
            game = self.game(seeds[:1])
            together = not isinstance(game, PolicyGame) and hasattr(game.belief, "root")
        return [list(seeds)] if together else [[seed] for seed in seeds]


class _Job(NamedTuple):
    rule: int
    budget: int
    seeds: tuple[int, ...]


def compare_identification(
    env_id_or_problem: str | BanditProblem,
    rules: Sequence[Any],
    *,
    budgets: int | Sequence[int],
    seeds: int | Sequence[int] = 100,
    env_settings: Mapping[str, Any] | None = None,
    context: Any = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    backend: Backend = "processes",
    num_workers: int | None = 1,
    progress: bool = False,
) -> IdentificationComparison:
    """Run rules with several budgets on the same instances and noise.

    Parameters
    ----------
    env_id_or_problem : an environment's id as for ``gym.make``, a problem, or one of the paper's problems by name:
        "mab", "linear", "hierarchical" or "ratings".
    rules : names, with settings as in ``"TopTwoTS:leader_share=0.7"``, classes derived from
        `dts_gym.identification.Rule`, or `dts_gym.identification.RuleSpec`. The first is the one that the others are
        compared with.
    budgets : one number of rounds, or several; each is a run of its own.
    seeds : number of runs, or their seeds; run s is ``identify(..., seed=s)``.
    env_settings : arguments of ``gym.make``, or of the named problem (``num_actions``, ``noise_std``, ...).
    context : the context of every round, as in `dts_gym.identify`.
    out : a new or empty folder for the records, written as runs end; None keeps none.
    resume : whether to keep the runs that ``out`` holds; rules, budgets and seeds may differ from before.
    backend, num_workers : where runs are executed, as in `dts_gym.compare`; the results are the same for any.
    progress : whether to show a bar on stderr.

    Returns
    -------
    IdentificationComparison

    Raises
    ------
    ValueError
        If a rule, budget, seed or setting is unknown or out of range, or ``out`` does not fit.
    OSError
        If a record cannot be written, another process writes to ``out``, or a worker dies; finished runs are kept.

    Examples
    --------
    >>> result = compare_identification("mab", ["TopTwoTS", "Uniform"], budgets=[20, 50], seeds=40)
    >>> result.errors("TopTwoTS", 50).shape
    (40,)
    """
    conduct = Conduct(None if out is None else Path(out), resume, backend, num_workers, None, progress)
    return compared_rules(conduct, env_id_or_problem, rules, budgets, seeds, env_settings, context)


def compared_rules(
    conduct: Conduct,
    env_id_or_problem: str | BanditProblem,
    rules: Sequence[Any],
    budgets: int | Sequence[int],
    seeds: int | Sequence[int],
    env_settings: Mapping[str, Any] | None = None,
    context: Any = None,
) -> IdentificationComparison:
    """The comparison of `compare_identification`, whose folder and workers are packed in ``conduct``."""
    target = _checked_target(env_id_or_problem, env_settings, context)
    specs = checked_rules(rules)
    sizes = checked_budgets(budgets)
    numbers = checked_seeds("seeds", seeds)
    for spec in specs:  # an error that would stop the first run is raised here, before a folder is made
        made, game = spec.make(), target.game(numbers[:1])
        K = game.belief.mean.shape[1]
        if sizes[0] < (least := spec.make().least_budget(K)):
            raise ValueError(f"budgets must be at least {least} for {spec.label} with {K} actions, got {sizes[0]}")
        game.check(made, sizes[-1])
    with conduct.open_pool() as pool, conduct.lock_folder():
        return _compared(target, specs, sizes, numbers, conduct, pool)


def checked_rules(rules: Any) -> tuple[RuleSpec, ...]:
    """Return the rules of a comparison, one or more with different labels; else raise ValueError."""
    if isinstance(rules, str):
        raise ValueError(f"rules must be a list of names, got {rules!r}")
    specs = tuple(rule_spec(rule) for rule in listed("rules", rules, "a list of names"))
    labels = [spec.label for spec in specs]
    if not specs or len(set(labels)) < len(labels):
        raise ValueError(f"rules must be at least one, with different labels, got {labels}")
    return specs


def checked_budgets(budgets: Any) -> tuple[int, ...]:
    """Return budgets as different integers of 1 or more, ascending; else raise ValueError."""
    one = isinstance(plain(budgets), int)
    found = [integer("budgets", n, 1) for n in ([budgets] if one else listed("budgets", budgets, "numbers of rounds"))]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"budgets must be one or more different numbers of rounds, got {budgets!r:.200}")
    return tuple(sorted(found))


def _checked_target(what: Any, settings: Mapping[str, Any] | None, context: Any) -> Target:
    if not isinstance(settings or {}, Mapping):
        raise ValueError(f"env_settings must be a mapping of names to settings, got {settings!r:.200}")
    known = {name: plain(value) for name, value in dict(settings or {}).items()}
    if isinstance(what, BanditProblem):
        if known:
            raise ValueError(f"env_settings must be left out with a problem, got {sorted(known)}")
        return Target(what, {}, checked_context(what, context))
    if not isinstance(what, str):
        raise ValueError(f"env_id_or_problem must be an id, a name or a BanditProblem, got {what!r:.200}")
    if what in SETTINGS:
        if context is not None:
            raise ValueError(f"context must be None for {what!r}, which has its own, got {context!r:.100}")
        pose(what, known, 0)
        return Target(what, known, None)
    env_id = versioned(what)
    env = gym.make(env_id, disable_env_checker=True, **known)
    try:
        warn_of_wrappers(env, stacklevel=4)
        problem = getattr(env.unwrapped, "problem", None)
        fixed = None if context is None or problem is None else checked_context(problem, context)
    finally:
        env.close()
    return Target(env_id, known, fixed)


def _compared(
    target: Target,
    specs: Sequence[RuleSpec],
    budgets: tuple[int, ...],
    seeds: tuple[int, ...],
    conduct: Conduct,
    pool: Any,
) -> IdentificationComparison:
    out = conduct.out
    problem = target.state() if out is not None else {}
    cells = {
        (place, budget): records.Cell(problem, _rule_state(spec) if out is not None else {}, budget)
        for budget in budgets
        for place, spec in enumerate(specs)
    }
    if out is not None:
        records.prepare(out, list(cells.values()), seeds, target.name, resume=conduct.resume)
    done: dict[tuple[int, int], list[Runs]] = {key: [] for key in cells}
    states: list[Mapping[str, Any]] = []
    jobs: list[_Job] = []
    for block, asked in records.blocks(seeds).items():  # by seeds: a stopped comparison has whole seeds
        for (place, budget), cell in cells.items():
            held = None if out is None else records.read_runs(out, cell, block)
            if held is not None:
                done[place, budget].append(held[0])
                states += held[1]
            known = set() if held is None else set(held[0].seeds.tolist())
            if left := [seed for seed in asked if seed not in known]:
                jobs += [_Job(place, budget, tuple(group)) for group in target.groups(left)]
    what = target.what
    entries = user_entries(what, []) if isinstance(what, str) and what not in SETTINGS else Entries(None, {})
    arguments = [(job, target, specs[job.rule], entries) for job in jobs]
    with closing(pool(_run_job, arguments)) as finished:
        for job, runs in progress_bar(finished, conduct.progress, len(jobs), "runs"):
            done[job.rule, job.budget].append(runs)
            states.append(code_state())
            if out is not None:
                records.write_runs(out, cells[job.rule, job.budget], runs, code_state())
    labels = tuple(spec.label for spec in specs)
    found = {
        (labels[place], budget): Runs(*(np.concatenate(columns) for columns in zip(*parts, strict=True))).of(seeds)
        for (place, budget), parts in done.items()
    }
    return IdentificationComparison(target.name, labels, budgets, seeds, found, tuple(distinct(states)))


def _rule_state(spec: RuleSpec) -> dict[str, Any]:
    return {"rule": spec.name, "settings": describe("settings", spec.settings), "label": spec.label}


def _run_job(job: _Job, target: Target, spec: RuleSpec, entries: Entries) -> tuple[_Job, Runs]:
    """The runs of a job, in any process."""
    take_entries(entries)
    outcomes = play(target.game(job.seeds), spec.make(), job.budget)
    seeds = np.array(job.seeds, dtype=np.int64)
    return job, Runs(seeds, outcomes.recommendations, outcomes.simple_regrets, outcomes.is_best)
