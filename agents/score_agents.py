"""Agents that pick by scores: the largest of a posterior draw, the largest upper confidence bound, or either."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

import numpy as np

from dts_gym.agents.posterior_agents import B, P, PosteriorAgent
from dts_gym.posteriors.choices import any_of, tied_best
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.ranking import ranked_bounds, ranked_draw
from dts_gym.utils.arrays import Array, BoolArray, IntArray

R = TypeVar("R")


class ThompsonSampling(PosteriorAgent[P]):
    """An agent that plays the best action of one posterior draw, with a new draw for each context."""

    is_by_scores = True

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.thompson(contexts, rng, self.exploration_scale, mask)

    def _laws_given_shared(self, context: Array, rng: np.random.Generator, size: int) -> ActionLaws | None:
        return self._laws_of_draws(context, rng, size)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return ranked_draw(self._posterior, context, rng, self.exploration_scale, mask, size)


class UpperConfidence(PosteriorAgent[B]):
    """An agent that plays the action of the largest mean plus ``exploration`` posterior standard deviations.

    A bound picks the same action for equal contexts until it learns. So a batch is picked in order: each pick counts as
    if its reward were its mean, which narrows the bounds of those after it and, where the posterior is Gaussian, moves
    no mean. Plays whose rewards have not come (``pending`` of `act`) count in the same way.
    """

    picks_in_order = True
    is_by_scores = True
    _explores_by: ClassVar[tuple[str, ...]] = ("bounds",)

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.upper_confidence(contexts, rng, self.exploration_scale, mask)

    def _bounds(self, laws: NormalLaws) -> Array:
        """Upper bounds of untempered distributions."""
        return laws.mean() + self.exploration_scale * np.sqrt(laws.variance())

    def _formula(self, context: Array, mask: BoolArray | None) -> Array | None:
        bounds = self._posterior.laws(context[None], 1.0).of_all(self._bounds)[0]
        return any_of(tied_best(bounds, mask))

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return ranked_bounds(self._posterior, context, rng, self.exploration_scale, mask, size)

    def _slates(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
        size: int,
    ) -> IntArray:
        def pick(x: Array, one: BoolArray | None) -> IntArray:
            return self._ranked(x, rng, one, size)

        rows, masks = self._rows(contexts, mask)
        picked = np.array(self._in_order(rows, masks, pick, np.ndarray.tolist, pending), dtype=np.int64)
        return picked[0] if self._is_single(contexts) else picked

    def _play(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
    ) -> IntArray:
        def pick(x: Array, one: BoolArray | None) -> int:
            return int(self._choose(x, rng, one))

        rows, masks = self._rows(contexts, mask)
        chosen = np.array(self._in_order(rows, masks, pick, lambda action: [action], pending), dtype=np.int64)
        return chosen[0] if self._is_single(contexts) else chosen

    def _rows(self, contexts: Array, mask: BoolArray | None) -> tuple[Array, list[BoolArray | None]]:
        """Contexts as a batch, and a mask for each."""
        rows = contexts[None] if self._is_single(contexts) else contexts
        return rows, list(mask) if mask is not None and mask.ndim == 2 else [mask] * len(rows)

    def _act_with_probabilities(self, rows: Array, masks: list[BoolArray | None], size: int) -> list[tuple[int, float]]:
        def pick(x: Array, one: BoolArray | None) -> tuple[int, float]:
            return self._pick_with_probability(x, one, size)

        return self._in_order(rows, masks, pick, lambda picked: [picked[0]])

    def _in_order(
        self,
        rows: Array,
        masks: list[BoolArray | None],
        pick: Callable[[Array, BoolArray | None], R],
        actions_of: Callable[[R], list[int]],
        pending: tuple[Array, IntArray] | None = None,
    ) -> list[R]:
        """What ``pick`` returns for every row, each pick counting as played for those after it; then all is as before.

        Plays that are ``pending`` count for all.
        """
        if pending is None and len(rows) == 1:
            return [pick(rows[0], masks[0])]
        before, found = self._posterior.state(), []
        try:
            for x, action in () if pending is None else zip(*pending, strict=True):
                self._posterior.expect(x, int(action))
            for x, mask in zip(rows, masks, strict=True):
                found.append(pick(x, mask))
                for action in actions_of(found[-1]) if len(found) < len(rows) else ():
                    self._posterior.expect(x, action)
        finally:
            self._posterior.restore(before)
        return found


class AnyWay(UpperConfidence[B]):
    """An agent that draws or uses upper confidence bounds, as its exploration says."""

    _explores_by: ClassVar[tuple[str, ...]] = ("bounds", "draws")

    @property
    def picks_in_order(self) -> bool:  # type: ignore[override]
        """Whether the picks of a batch depend on those before them, as bounds do."""
        return self._by_bounds

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        if self._by_bounds:
            return super()._choose(contexts, rng, mask)
        return self._posterior.thompson(contexts, rng, self.exploration_scale, mask)

    def _formula(self, context: Array, mask: BoolArray | None) -> Array | None:
        return super()._formula(context, mask) if self._by_bounds else None

    def _laws_given_shared(self, context: Array, rng: np.random.Generator, size: int) -> ActionLaws | None:
        return None if self._by_bounds else self._laws_of_draws(context, rng, size)

    def _act_with_probabilities(self, rows: Array, masks: list[BoolArray | None], size: int) -> list[tuple[int, float]]:
        if self._by_bounds:
            return super()._act_with_probabilities(rows, masks, size)
        return PosteriorAgent._act_with_probabilities(self, rows, masks, size)

    def _play(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
    ) -> IntArray:
        if self._by_bounds:
            return super()._play(contexts, rng, mask, pending)
        return PosteriorAgent._play(self, contexts, rng, mask, pending)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        if self._by_bounds:
            return super()._ranked(context, rng, mask, size)
        return ranked_draw(self._posterior, context, rng, self.exploration_scale, mask, size)

    def _slates(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
        size: int,
    ) -> IntArray:
        if self._by_bounds:
            return super()._slates(contexts, rng, mask, pending, size)
        return PosteriorAgent._slates(self, contexts, rng, mask, pending, size)
