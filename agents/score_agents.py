"""Agents that pick by scores: the largest of a posterior draw, the largest upper confidence bound, or either."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

import numpy as np

from dts_gym.agents.posterior_agents import B, P, PosteriorAgent
from dts_gym.agents.slates import R
from dts_gym.posteriors.choices import any_of, tied_best
from dts_gym.posteriors.interface import BoundedPosterior, IndependentGivenShared
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.ranking import best_of_all, ranked_draw
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class ScoreAgent(PosteriorAgent[P]):
    """An agent that plays the action of the largest score, a posterior draw's or a bound, as its exploration says.

    A bound picks the same action for equal contexts until it learns. So a batch is picked in order: each pick counts as
    if its reward were its mean, which narrows the bounds of those after it and, where the posterior is Gaussian, moves
    no mean. Plays whose rewards have not come (``pending`` of `act`) count in the same way.
    """

    is_by_scores = True

    @property
    def picks_in_order(self) -> bool:
        return self._by_bounds

    @property
    def _bounded(self) -> BoundedPosterior:
        """The posterior, which has bounds where an agent may explore by them."""
        return cast("BoundedPosterior", self._posterior)

    def _bounds(self, laws: NormalLaws) -> Array:
        """Upper bounds of untempered distributions."""
        return np.asarray(laws.mean() + self.exploration_scale * np.sqrt(laws.variance()))

    def _all_bounds(self, context: Array) -> Array:
        """Upper bounds (K,) of all actions' scores."""
        return np.asarray(self._posterior.laws(context[None], 1.0).of_all(self._bounds)[0])

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        if self._by_bounds:
            return self._bounded.upper_confidence(contexts, rng, self.exploration_scale, mask)
        return self._posterior.thompson(contexts, rng, self.exploration_scale, mask)

    def _formula(self, context: Array, mask: BoolArray | None) -> Array | None:
        return any_of(tied_best(self._all_bounds(context), mask)) if self._by_bounds else None

    def _laws_given_shared(self, context: Array, rng: np.random.Generator, size: int) -> ActionLaws | None:
        if self._by_bounds or not isinstance(self._posterior, IndependentGivenShared):
            return None
        return self._posterior.laws_given_shared(context, rng, self.exploration_scale, size)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        if self._by_bounds:
            return best_of_all(self._all_bounds(context), mask, size, rng)
        return ranked_draw(self._posterior, context, rng, self.exploration_scale, mask, size)

    def _play(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
    ) -> IntArray:
        if not self._by_bounds:
            return super()._play(contexts, rng, mask, pending)

        def pick(x: Array, one: BoolArray | None) -> int:
            return int(self._choose(x, rng, one))

        return self._picked(contexts, mask, pick, lambda action: [action], pending)

    def _each(
        self,
        rows: Array,
        masks: list[BoolArray | None],
        pick: Callable[[Array, BoolArray | None], R],
        actions_of: Callable[[R], list[int]],
        pending: tuple[Array, IntArray] | None = None,
    ) -> list[R]:
        if not self._by_bounds or (pending is None and len(rows) == 1):
            return super()._each(rows, masks, pick, actions_of)
        posterior, found = self._bounded, []
        before = posterior.state()
        try:
            for x, action in () if pending is None else zip(*pending, strict=True):
                posterior.expect(x, int(action))
            for x, mask in zip(rows, masks, strict=True):
                found.append(pick(x, mask))
                for action in actions_of(found[-1]) if len(found) < len(rows) else ():
                    posterior.expect(x, action)
        finally:
            posterior.restore(before)
        return found


class ThompsonSampling(ScoreAgent[P]):
    """An agent that plays the best action of one posterior draw, with a new draw for each context."""


class UpperConfidence(ScoreAgent[B]):
    """An agent that plays the action of the largest mean plus ``exploration`` posterior standard deviations."""

    _explores_by: ClassVar[tuple[str, ...]] = ("bounds",)


class AnyWay(ScoreAgent[B]):
    """An agent that draws or uses upper confidence bounds, as its exploration says."""

    _explores_by: ClassVar[tuple[str, ...]] = ("bounds", "draws")
