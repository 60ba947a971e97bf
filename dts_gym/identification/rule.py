"""A rule: how the rounds of a budget are spent, and which action is recommended at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from dts_gym.identification.beliefs import Belief
from dts_gym.identification.best_action import best_probabilities
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import choice

Recommend = Literal["mean", "probability"]
_JUDGED = 1000  # draws of the scores with which actions' probabilities of being best are compared


class Rule(ABC):
    """How a budget is spent, in R runs that advance together; a rule never sees the true scores.

    A rule of your own needs `choose` only. All arrays have a first axis of runs: ``belief.mean`` is (R, K), and
    `choose` returns R actions. Random numbers come from ``streams``, so that a run does not depend on the others.

    Parameters
    ----------
    recommend : "mean", the action of the largest posterior mean, which has the least expected simple regret; or
        "probability", the one that is most probably the best, which has the least probability of error. They differ
        where an uncertain action may be far better than the one with the largest mean.

    Attributes
    ----------
    name : how rules are called in errors; empty: by the name of the class.
    needs_one_context : whether the rule plans over all rounds, so that it cannot be used where contexts change.

    Examples
    --------
    The rule that plays the action of the largest upper bound:

    >>> class Upper(Rule):
    ...     def choose(self, belief, streams):
    ...         return (belief.mean + 2.0 * belief.variances**0.5).argmax(axis=1)
    >>> from dts_gym.checks import check_rule
    >>> check_rule(Upper)
    """

    name: ClassVar[str] = ""
    needs_one_context = False

    def __init__(self, recommend: Recommend = "mean") -> None:
        self.recommend_by: Recommend = choice("recommend", recommend, get_args(Recommend))

    @classmethod
    def least_budget(cls, num_actions: int) -> int:
        """The smallest budget with which the rule works for K actions."""
        return 1

    def start(self, belief: Belief, budget: int, streams: RunStreams) -> None:  # noqa: B027 - most rules need none
        """Prepare for runs of ``budget`` rounds, given the prior belief; `choose` is called once a round after it."""

    @abstractmethod
    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The actions to play in this round, (R,)."""

    def recommend(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The recommended actions after the last round, (R,)."""
        if self.recommend_by == "mean":
            return np.asarray(belief.mean.argmax(axis=1))
        return np.asarray(best_probabilities(belief, streams, _JUDGED).argmax(axis=1))

    def __repr__(self) -> str:
        return self.name or type(self).__name__


def checked_actions(name: str, actions: Any, runs: int, num_actions: int) -> IntArray:
    """What a rule's method ``name`` returned, an action for each run; ValueError where it is anything else."""
    is_array = isinstance(actions, np.ndarray) and actions.shape == (runs,) and actions.dtype.kind in "iu"
    if not is_array or not 0 <= actions.min() <= actions.max() < num_actions:
        expected = f"an array of {runs} integers in 0..{num_actions - 1}, one for each run"
        raise ValueError(f"{name} must return {expected}, got {actions!r:.200}")
    return np.asarray(actions, dtype=np.int64)


def best_rows(values: Array) -> IntArray:
    """The column of the largest value in every row, (R,); of tied ones the first."""
    return np.asarray(values.argmax(axis=-1), dtype=np.int64)
