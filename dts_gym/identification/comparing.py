"""Rules compared on the same instances: the work of `dts_gym.compare_identification`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
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
from dts_gym.identification.games import Game, PolicyGame, play
from dts_gym.identification.rules import RuleSpec, rule_class, rule_spec
from dts_gym.identification.settings import SETTINGS
from dts_gym.identification.targets import Target, checked_target
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.validation import integer, listed, plain
from dts_gym.utils.workers import Backend

_USUAL = ("KnowledgeGradient", "TopTwoTS", "SequentialHalving", "PI-BAI-TS", "Uniform")


class _Job(NamedTuple):
    rule: int
    budget: int
    seeds: tuple[int, ...]


def compare_identification(
    env_id_or_problem: str | BanditProblem,
    rules: Sequence[Any] | None = None,
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
        compared with. None: KnowledgeGradient, TopTwoTS, SequentialHalving, PI-BAI-TS and Uniform; where contexts
        change, those of them that look at the present context only.
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
    if isinstance(env_id_or_problem, gym.Env):
        raise ValueError(
            "env_id_or_problem must be the id of an environment, which is made anew for every run, a name or a "
            f"BanditProblem, got {env_id_or_problem!r:.200}"
        )
    target = checked_target("env_id_or_problem", env_id_or_problem, env_settings, context)
    return compared_rules(conduct, target, rules, budgets, seeds)


def compared_rules(
    conduct: Conduct,
    target: Target,
    rules: Sequence[Any] | None,
    budgets: int | Sequence[int],
    seeds: int | Sequence[int],
) -> IdentificationComparison:
    """The comparison of `compare_identification`, whose folder and workers are packed in ``conduct``."""
    named = None if rules is None else checked_rules(rules)
    sizes = checked_budgets(budgets)
    numbers = checked_seeds("seeds", seeds)
    game = target.game(numbers[:1])
    specs = checked_rules(_usual_rules(game)) if named is None else named
    K = game.belief.mean.shape[1]
    for spec in specs:  # an error that would stop the first run is raised here, before a folder is made
        made = spec.make()
        if sizes[0] < (least := made.least_budget(K)):
            raise ValueError(f"budgets must be at least {least} for {spec.label} with {K} actions, got {sizes[0]}")
        game.check(made, sizes[-1])
    with conduct.open_pool() as pool, conduct.lock_folder():
        return _compared(target, specs, sizes, numbers, conduct, pool)


def _usual_rules(game: Game) -> list[str]:
    """The rules that are compared unless some are named."""
    changes = isinstance(game, PolicyGame)
    return [name for name in _USUAL if not (changes and rule_class(name).needs_one_context)]


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
