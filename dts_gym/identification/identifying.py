"""One run of best-arm identification: the work of `dts_gym.identify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dts_gym.identification.best_action import best_probabilities
from dts_gym.identification.games import PolicyGame, play
from dts_gym.identification.rule import Rule
from dts_gym.identification.rules import rule_spec
from dts_gym.identification.targets import checked_target
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.shown import Shown
from dts_gym.utils.tables import data_frame
from dts_gym.utils.validation import LARGEST, finite_array, integer

# The rule of the least probability of error on the paper's problems, see docs/results/identification.md.
DEFAULT_RULE = "KnowledgeGradient"
# Draws of the scores for the probabilities of being best: of a normal belief, and of the others, whose draws are slow.
_DRAWS, _SLOW_DRAWS = 10_000, 1000


@dataclass(frozen=True, eq=False, repr=False)
class Identification(Shown):
    """What a rule recommends after its budget, and how good that is.

    Parameters
    ----------
    recommendation : the recommended action; where contexts change, a function that recommends one for a context (d,) or
        for each of n contexts.
    probability_best : (K,) posterior probability of every action to be the best one; where contexts change, at the last
        context. Exact up to rounding where scores are independent, else of 10 000 draws (standard error at most 0.005),
        of 1000 where the belief is no normal distribution (0.016).
    counts : (K,) number of rounds of every action.
    simple_regret : mean reward of the best action less that of the recommended one; where contexts change, its average
        over 1000 contexts.
    is_best : whether the best action is recommended, or one of equal best ones; where contexts change, at all.
    action_names : (K,) names of the problem's actions; None where it has none.
    """

    recommendation: Any
    probability_best: Array
    counts: IntArray
    simple_regret: float
    is_best: bool
    action_names: Sequence[str] | None = None

    @property
    def recommended_name(self) -> str | None:
        """Name of the recommended action; None where actions have no names, or a policy is recommended."""
        if self.action_names is None or callable(self.recommendation):
            return None
        return str(self.action_names[self.recommendation])

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each action: "action", "action_name", "count" and "probability_best".

        There is no column "action_name" where actions have no names.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        names = {} if self.action_names is None else {"action_name": list(self.action_names)}
        numbers = {"count": self.counts, "probability_best": self.probability_best}
        return data_frame({"action": np.arange(len(self.counts)), **names, **numbers})

    def _repr_facts(self) -> Mapping[str, Any]:
        named = "a policy" if callable(self.recommendation) else self.recommendation
        facts = {"recommendation": named, "recommended_name": self.recommended_name}
        return {**facts, "simple_regret": self.simple_regret, "is_best": self.is_best, "counts": self.counts}


def identify(
    env_or_problem: Any,
    rule: str | type[Rule] | Any = DEFAULT_RULE,
    *,
    budget: int,
    seed: int = 0,
    context: Any = None,
    env_settings: Mapping[str, Any] | None = None,
) -> Identification:
    """Spend a budget of rounds on finding the best action, and recommend one.

    Parameters
    ----------
    env_or_problem : an environment of this package or its id, a problem, or the name of one of the paper's problems:
        "mab", "linear", "hierarchical" or "ratings". A problem's instance is drawn from its prior under ``seed``, an
        environment's by its ``reset(seed=seed)``.
    rule : a name as `dts_gym.identification.rule_ids` lists, with settings as in ``"TopTwoTS:leader_share=0.7"``, or a
        class derived from `dts_gym.identification.Rule`.
    budget : n, the number of rounds.
    seed : seed for the instance, the noise and the rule's draws; instance and noise are the same for every rule.
    context : the context of every round, (d,), or (K, d) features of a shared parameter. None: the one that the
        environment's instances fix, or ``[1.0]`` for a problem of dimension 1; an environment whose contexts change
        then has a policy recommended.
    env_settings : arguments of ``gym.make`` for an id, or of the named problem (``num_actions``, ``data``, ...), see
        ``dts_gym.identification.SETTINGS``.

    Returns
    -------
    Identification

    Raises
    ------
    ValueError
        If the rule is unknown, the budget is too small for it (the message has the least one that works) or beyond an
        environment's horizon, or the context is missing or does not fit.

    Notes
    -----
    An environment under wrappers that change its observations, rewards or actions is warned of: belief and truth are
    those of the environment inside.

    At a fixed context, with Gaussian rewards and a prior of affine links or mixed effects, the belief about the K
    scores is exact. For other priors and rewards it is the posterior of a dTS agent. Contexts that change need a rule
    that decides round by round: Uniform, TS, TopTwoTS, T3C or KnowledgeGradient, which then look at the present
    context.

    Examples
    --------
    >>> result = identify("mab", "TopTwoTS", budget=100, seed=1)
    >>> int(result.counts.sum()), result.probability_best.shape
    (100, (10,))
    """
    asked = integer("budget", budget, 1)
    known_seed, made = integer("seed", seed, 0), rule_spec(rule).make()
    game = checked_target("env_or_problem", env_or_problem, env_settings, context).game([known_seed])
    found = play(game, made, asked)
    recommendation: Any = int(found.recommendations[0])
    if isinstance(game, PolicyGame):
        recommendation = _Policy(game)
    draws = _DRAWS if game.belief.is_normal else _SLOW_DRAWS
    return Identification(
        recommendation,
        best_probabilities(game.belief, game.streams, draws)[0],
        found.counts[0].copy(),
        float(found.simple_regrets[0]),
        bool(found.is_best[0]),
        game.problem.action_names,
    )


class _Policy:
    """The action of the largest posterior mean at a context, or at each of n contexts."""

    def __init__(self, game: PolicyGame) -> None:
        self._belief = game.belief

    def __call__(self, context: Any) -> Any:
        shape = self._belief.context.shape
        one = np.ndim(context) == len(shape)
        contexts = finite_array("context", context, shape if one else (None, *shape), LARGEST)
        chosen = self._belief.means_at(contexts[None] if one else contexts).argmax(axis=1)
        return int(chosen[0]) if one else chosen
