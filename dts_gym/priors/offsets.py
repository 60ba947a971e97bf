"""A prior with an offset for each action: what is known of each, plus a draw of a chain for what is not."""

from __future__ import annotations

from typing import Any

import numpy as np

from dts_gym.priors.prior import ChainPrior, Prior
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import LARGEST, finite_array, integer


class OffsetPrior(Prior):
    """``theta_a = m_a + r_a``: known offsets ``m_a``, and ``r_a`` independent draws of a chain, such as a denoiser's.

    The chain stands at branch L: actions share nothing but what their offsets say. `FeaturePrior.for_actions` makes
    one of items with features, where ``residual`` is a prior of what the features leave.

    Parameters
    ----------
    residual : the chain; its branch is not read.
    action_means : (K, d) offsets ``m_a``.

    Attributes
    ----------
    num_actions, dim : K and d.
    residual : the chain at branch L.
    action_means : as given, as a float64 array.

    Raises
    ------
    ValueError
        If ``residual`` is no chain, or the offsets do not fit its dimension or are not finite.

    Examples
    --------
    >>> from dts_gym import random_mlp_prior
    >>> prior = OffsetPrior(random_mlp_prior(2, 2), [[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    >>> prior
    OffsetPrior(dim=2, num_actions=3)
    >>> prior.sample(np.random.default_rng(0), 3).shape
    (3, 2)
    """

    def __init__(self, residual: ChainPrior, action_means: Array) -> None:
        if not isinstance(residual, ChainPrior):
            raise ValueError(f"residual must be a chain of links (a dts_gym ChainPrior), got {residual!r:.200}")
        self.residual = residual.with_branch(residual.depth)
        self.dim = residual.dim
        self.action_means = finite_array("action_means", action_means, (None, self.dim), LARGEST)
        self.num_actions = len(self.action_means)
        if not self.num_actions:
            raise ValueError(f"action_means must have a row or more, got shape {self.action_means.shape}")

    def sample(self, rng: np.random.Generator, num_actions: int) -> Array:
        """Draw the parameters of all actions of one instance, (K, d); ``num_actions`` must be K, else ValueError."""
        K = integer("num_actions", num_actions, 1)
        if self.num_actions != K:
            raise ValueError(f"num_actions must be {self.num_actions}, which the prior describes one by one, got {K}")
        return np.asarray(self.action_means + self.residual.sample(rng, K))

    def draws(self, rng: np.random.Generator, size: int) -> Array:
        """Parameters of ``size`` actions that share nothing, (size, d), each one of the K, picked at random."""
        count = integer("size", size, 1)
        return np.asarray(
            self.action_means[rng.integers(self.num_actions, size=count)] + self.residual.sample(rng, count)
        )

    def _repr_facts(self) -> dict[str, Any]:
        return {**super()._repr_facts(), "num_actions": self.num_actions}

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `prior_from_state` accepts them."""
        settings, arrays = self.residual.state()
        own = {f"residual.{name}": array for name, array in arrays.items()}
        return {"kind": "offsets", "residual": settings}, own | {"action_means": self.action_means}
