"""Priors in which actions share effects, each by mixing weights of its own: mixed effects, and items with features."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from dts_gym.priors.feature_map import FeatureMap
from dts_gym.priors.prior import Prior
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.validation import LARGEST, as_float64, covariance, finite_array, integer


class MixedEffectPrior(Prior):
    """``theta_a = m_a + W_a psi + delta_a``: effects ``psi`` that all actions share, ``delta_a`` of each action's own.

    The effects are ``psi ~ N(effect_mean, effect_cov)``, q numbers, and ``delta_a ~ N(0, S_a)``. With mixing weights
    ``b_a``, (J,), an action's map is ``W_a = b_a' kron I_d``: the effects are J vectors (d,), stacked one after the
    other, and ``W_a psi`` is their sum weighted by ``b_a``. Items with features ``z_a`` are the same with
    ``b_a = z_a``, two levels with a shared part are ``b_a = (1,)``, and independent actions have no effects (J = 0).

    Parameters
    ----------
    mixing : (K, J) mixing weights ``b_a``, then q = J d; or (K, d, q), the matrices ``W_a``.
    effect_cov : (q, q) PSD covariance of the effects.
    action_cov : (d, d) PSD covariance ``S`` of every action's own part, or (K, d, d), one for each action.
    effect_mean : (q,) mean of the effects, zeros if None.
    action_means : (K, d) offsets ``m_a`` of the actions, zeros if None.
    feature_map : what makes rows of ``mixing`` of items' features, where it was made so (`FeaturePrior`); None: the
        rows are the features.

    Attributes
    ----------
    num_actions, dim, effect_dim : K, d and q.
    is_by_weights : whether ``mixing`` is (K, J).
    mixing, effect_cov, action_cov, effect_mean, action_means : as given, as float64 arrays.
    feature_map : as given.

    Raises
    ------
    ValueError
        If a size does not match, a value is not finite or a covariance is not PSD.

    Source: Aouali et al., "Mixed-Effect Thompson Sampling" (2023).

    Examples
    --------
    >>> prior = MixedEffectPrior([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], np.eye(4), np.eye(2))
    >>> prior
    MixedEffectPrior(dim=2, num_actions=3, effect_dim=4)
    >>> prior.sample(np.random.default_rng(0), 3).shape
    (3, 2)
    """

    def __init__(
        self,
        mixing: Array,
        effect_cov: Array,
        action_cov: Array,
        effect_mean: Array | None = None,
        action_means: Array | None = None,
        *,
        feature_map: FeatureMap | None = None,
    ) -> None:
        own = as_float64("action_cov", action_cov)
        if own.ndim not in (2, 3) or own.shape[-1] < 1:
            raise ValueError(f"action_cov must have shape (d, d) or (K, d, d) with d >= 1, got shape {own.shape}")
        d = self.dim = own.shape[-1]
        mixed = as_float64("mixing", mixing)
        self.is_by_weights = mixed.ndim == 2
        if mixed.ndim not in (2, 3) or not len(mixed):
            raise ValueError(f"mixing must have shape (K, J) or (K, d, q) with K >= 1, got shape {mixed.shape}")
        self.mixing = finite_array("mixing", mixed, (None, None) if self.is_by_weights else (None, d, None), LARGEST)
        K = self.num_actions = len(self.mixing)
        q = self.effect_dim = self.mixing.shape[-1] * (d if self.is_by_weights else 1)
        effects = finite_array("effect_cov", effect_cov, (q, q))
        self.effect_cov = covariance("effect_cov", effects, q) if q else effects
        if own.ndim == 2:
            self.action_cov = covariance("action_cov", own, d)
        else:
            finite_array("action_cov", own, (K, d, d), copy=False)
            self.action_cov = np.array([covariance(f"action_cov[{a}]", S, d) for a, S in enumerate(own)])
        self.effect_mean = np.zeros(q) if effect_mean is None else finite_array("effect_mean", effect_mean, (q,))
        self.action_means = (
            np.zeros((K, d)) if action_means is None else finite_array("action_means", action_means, (K, d))
        )
        if feature_map is not None and self.mixing.shape[1:] != (1 + len(feature_map.means),):
            expected = f"(K, {1 + len(feature_map.means)})"
            raise ValueError(f"mixing must have shape {expected} with this feature_map, got {self.mixing.shape}")
        self.feature_map = feature_map

    def weights_of(self, item_features: Array) -> Array:
        """Rows of ``mixing`` (n, J) of items with features (n, p); ValueError unless ``mixing`` is (K, J).

        Without a ``feature_map`` the rows are the features, and p is J.
        """
        if not self.is_by_weights:
            raise ValueError(f"item_features must be left out for a prior without mixing weights, got {self!r}")
        if self.feature_map is not None:
            return self.feature_map.weights(item_features)
        return finite_array("item_features", item_features, (None, self.mixing.shape[1]), LARGEST)

    def with_weights(self, action: int, weights: Array) -> Self:
        """The prior after an action has other mixing weights (J,), which are finite; O(K J), a copy of ``mixing``."""
        changed = copy(self)
        changed.mixing = self.mixing.copy()
        changed.mixing[action] = weights
        return changed

    def grown(self, weights: Array) -> Self:
        """The prior of more actions, the new ones last, with mixing weights (n, J), finite, and offsets of zero.

        All actions must have one ``action_cov``. O(K J), a copy of ``mixing``.
        """
        changed = copy(self)
        changed.mixing = np.concatenate([self.mixing, weights])
        changed.action_means = np.concatenate([self.action_means, np.zeros((len(weights), self.dim))])
        changed.num_actions = len(changed.mixing)
        return changed

    def sample(self, rng: np.random.Generator, num_actions: int) -> Array:
        """Draw the parameters of all actions of one instance, (K, d); ``num_actions`` must be K, else ValueError."""
        K = integer("num_actions", num_actions, 1)
        if self.num_actions != K:
            raise ValueError(f"num_actions must be {self.num_actions}, which the prior describes one by one, got {K}")
        root = self.effect_root()
        effects = self.effect_mean + root @ rng.standard_normal(root.shape[1])
        noise = rng.standard_normal((K, self.dim))
        return np.asarray(self.action_means + self.mix(effects) + np.matvec(self.own_roots(), noise))

    def mix(self, effects: Array) -> Array:
        """``W_a effects`` of every action, (K, d), from effects (q,)."""
        psi = finite_array("effects", effects, (self.effect_dim,), copy=False)
        if self.is_by_weights:
            return np.asarray(self.mixing @ psi.reshape(self.mixing.shape[1], self.dim))
        return np.asarray(self.mixing @ psi)

    def effect_root(self) -> Array:
        """A square root (q, r) of the effects' covariance, r its rank."""
        return factor(self.effect_cov) if self.effect_dim else np.zeros((0, 0))

    def own_roots(self) -> Array:
        """Square roots ``R`` of own covariances, ``S_a = R R'``: (d, d), or (K, d, d) where they differ."""
        d = self.dim
        covs = self.action_cov.reshape(-1, d, d)
        roots = np.zeros_like(covs)
        for root, cov in zip(roots, covs, strict=True):
            part = factor(cov)
            root[:, : part.shape[1]] = part
        return roots.reshape(self.action_cov.shape)

    def marginals(self) -> tuple[Array, Array]:
        """Means (K, d) and covariances (K, d, d) of the actions' parameters, each without the others."""
        d, root = self.dim, self.effect_root()
        if self.is_by_weights:
            spread = np.einsum("kj,jdr->kdr", self.mixing, root.reshape(self.mixing.shape[1], d, root.shape[1]))
        else:
            spread = self.mixing @ root
        return self.action_means + self.mix(self.effect_mean), spread @ spread.swapaxes(1, 2) + self.action_cov

    def draws(self, rng: np.random.Generator, size: int) -> Array:
        """Parameters of ``size`` actions that share nothing, (size, d), each one of the K, picked at random."""
        count = integer("size", size, 1)
        means, covs = self.marginals()
        roots = np.zeros_like(covs)
        for root, cov in zip(roots, covs, strict=True):
            part = factor(cov)
            root[:, : part.shape[1]] = part
        rows = rng.integers(self.num_actions, size=count)
        return np.asarray(means[rows] + np.matvec(roots[rows], rng.standard_normal((count, self.dim))))

    def _repr_facts(self) -> dict[str, Any]:
        return {**super()._repr_facts(), "num_actions": self.num_actions, "effect_dim": self.effect_dim}

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `prior_from_state` accepts them."""
        names = ("mixing", "effect_cov", "action_cov", "effect_mean", "action_means")
        arrays = {name: getattr(self, name) for name in names}
        if self.feature_map is not None:
            arrays |= {"feature_means": self.feature_map.means, "feature_deviations": self.feature_map.deviations}
        return {"kind": "mixed"}, arrays

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array]) -> Self:
        """Build the prior that `state` described."""
        own = dict(arrays)
        means, deviations = own.pop("feature_means", None), own.pop("feature_deviations", None)
        known = None if means is None or deviations is None else FeatureMap(means, deviations)
        return cls(**own, feature_map=known)
