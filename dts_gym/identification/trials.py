"""Runs of a rule: a budget of rounds, one recommendation, and how good it is. Only this module sees the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dts_gym.identification.beliefs import ScoreBelief
from dts_gym.identification.best_action import best_probabilities
from dts_gym.identification.rule import Rule
from dts_gym.identification.rules import RuleSpec, rule_spec
from dts_gym.identification.settings import ScorePrior, Setting, checked_context, score_prior
from dts_gym.identification.streams import RunStreams
from dts_gym.problem.problem import BanditProblem, problem_of
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.seeding import seed_sequence, stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import integer, integers

DEFAULT_RULE = "TopTwoTS"
_MOST_BUDGET = 10_000_000


class Case(NamedTuple):
    """One run before its first round: what a rule may know, and the true scores (K,)."""

    prior: ScorePrior
    noise_std: float
    truth: Array


class Trials(NamedTuple):
    """Results of R runs of one rule.

    Attributes
    ----------
    recommendations : (R,) actions.
    simple_regret : (R,) largest true score less that of the recommendation.
    is_best : (R,) whether the recommendation has the largest true score.
    counts : (R, K) rounds that every action was played.
    probability_best : (R, K) probabilities of being best after the last round; None unless asked for.
    """

    recommendations: IntArray
    simple_regret: Array
    is_best: BoolArray
    counts: IntArray
    probability_best: Array | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Identification(Shown):
    """A recommendation, and what speaks for it.

    Attributes
    ----------
    recommendation : the recommended action.
    probability_best : (K,) posterior probability of every action to be the best.
    counts : (K,) rounds that every action was played; they sum to the budget.
    simple_regret : largest mean reward less that of the recommended action, by the truth.
    is_best : whether the recommended action has the largest mean reward, by the truth.
    """

    recommendation: int
    probability_best: Array
    counts: IntArray
    simple_regret: float
    is_best: bool

    def _repr_facts(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in ("recommendation", "simple_regret", "is_best")}
        return {**facts, "probability": float(self.probability_best[self.recommendation])}


def identify(
    env_or_problem: Any,
    rule: str | type[Rule] | RuleSpec = DEFAULT_RULE,
    *,
    budget: int,
    seed: int = 0,
    context: Any = None,
    draws: int = 10_000,
) -> Identification:
    """Play a budget of rounds at one context, and recommend the action that is believed to be the best.

    Parameters
    ----------
    env_or_problem : a `BanditProblem`, whose instance is drawn from its prior under ``seed``; or an environment of this
        package, whose instance is that of ``reset(seed=seed)``. The rewards are Gaussian, and the prior is linear.
    rule : a name that `dts_gym.identification.rule_ids` lists, with settings as in ``"TopTwoTS:leader_share=0.7"``, or
        a class of your own that derives from `dts_gym.identification.Rule`.
    budget : number of rounds.
    seed : seed for the instance, the noise and the rule's draws. Rules see the same instance and noise.
    context : (d,), or (K, d) where all actions share one parameter vector. None uses the context that every round of an
        environment's instance shows, or 1 where d is 1.
    draws : number of posterior draws for ``probability_best`` where scores are correlated, whose standard error is at
        most ``0.5 / sqrt(draws)``; independent scores need none.

    Returns
    -------
    Identification

    Raises
    ------
    ValueError
        If the budget is smaller than the rule needs, a setting is out of range, or the problem is of another kind.

    Notes
    -----
    The belief is exact: the K mean rewards at one context are jointly normal. A round costs O(K^2).

    Examples
    --------
    >>> from dts_gym.identification import hierarchical
    >>> result = identify(hierarchical().problem, "TopTwoTS", budget=300, seed=0)
    >>> result.counts.sum(), result.probability_best.shape
    (np.int64(300), (60,))
    """
    spec, chosen = rule_spec(rule), integer("seed", seed, 0)
    drawn = integer("draws", draws, 1, most=10_000_000)
    trials = run_trials(lambda one: case_of(env_or_problem, one, context), spec, budget, [chosen], drawn)
    assert trials.probability_best is not None
    return Identification(
        int(trials.recommendations[0]),
        trials.probability_best[0],
        trials.counts[0],
        float(trials.simple_regret[0]),
        bool(trials.is_best[0]),
    )


def case_of(source: Any, seed: int, context: Any = None) -> Case:
    """The run of one seed on a problem, an environment, or a function that makes a `Setting` for a seed."""
    if callable(source) and not isinstance(source, BanditProblem) and problem_of(source) is None:
        setting = source(seed)
        if not isinstance(setting, Setting):
            raise ValueError(
                f"env_or_problem must be a problem, an environment or make a Setting, got {setting!r:.200}"
            )
        return case_of(setting.problem, seed, setting.context)
    problem = source if isinstance(source, BanditProblem) else problem_of(source)
    if problem is None:
        raise ValueError(f"env_or_problem must be a BanditProblem or an environment of one, got {source!r:.200}")
    if source is problem:
        x = checked_context(problem, context)
        prior = score_prior(problem, x)
        shared = problem.features == "shared"
        parameters = problem.prior.sample(stream(seed, "instance"), 1 if shared else problem.num_actions)
        truth = x @ parameters[0] if shared else parameters @ x
    else:
        source.reset(seed=seed)
        instance = source.unwrapped.instance
        context = instance.fixed_context if context is None else context
        x = checked_context(problem, context)
        prior = score_prior(problem, x)
        truth = instance.linear_predictors(x)
    return Case(prior, float(problem.reward_model.noise_std), np.asarray(truth, dtype=np.float64))  # type: ignore[attr-defined]


def run_trials(
    make_case: Callable[[int], Case], spec: RuleSpec, budget: int, seeds: Sequence[int], draws: int = 0
) -> Trials:
    """Run a rule on the instances of some seeds, all at once.

    Parameters
    ----------
    make_case : returns the run of a seed.
    spec : the rule.
    budget : number of rounds of each run.
    seeds : R seeds. Instances and noise depend on the seed alone, and are the same for every rule and any other seeds.
    draws : number of draws for ``probability_best``; 0 leaves it out.

    Raises
    ------
    ValueError
        If the budget is smaller than the rule needs, or the rule picks what is no action.
    """
    n = integer("budget", budget, 1, most=_MOST_BUDGET)
    cases = [make_case(seed) for seed in seeds]
    K, R = len(cases[0].truth), len(cases)
    rule = spec.make()
    if n < (least := type(rule).least_budget(K)):
        raise ValueError(f"budget must be {least} or more for {spec.label} with {K} actions, got {n}")
    belief = ScoreBelief(
        np.stack([case.prior.mean for case in cases]), np.stack([case.prior.cov for case in cases]), cases[0].noise_std
    )
    truth = np.stack([case.truth for case in cases])  # (R, K)
    noise = RunStreams([stream(seed, "noise") for seed in seeds])
    streams = RunStreams([stream(seed_sequence(seed, "agent"), "act") for seed in seeds])
    rows = np.arange(R)
    rule.start(belief, n, streams)
    for _ in range(n):
        actions = integers("the rule's actions", rule.choose(belief, streams), R, K)
        belief.update(actions, truth[rows, actions] + belief.noise_std * noise.normal())
    chosen = integers("the rule's recommendation", rule.recommend(belief, streams), R, K)
    regret = truth.max(axis=1) - truth[rows, chosen]
    judged = RunStreams([stream(seed_sequence(seed, "agent"), "report") for seed in seeds])
    probabilities = best_probabilities(belief, judged, draws) if draws else None
    return Trials(chosen, regret, regret == 0, belief.counts, probabilities)
