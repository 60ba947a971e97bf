"""A prior fitted to past items with features, which says what new items are like by their features."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, Literal, Self, get_args, overload

import numpy as np

from dts_gym.priors.feature_fit import fit_scales
from dts_gym.priors.feature_map import FeatureMap
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.outliers import outlier_warning, residual_outliers
from dts_gym.priors.prior import ChainPrior, Prior
from dts_gym.utils.arrays import Array, factor, factor_and_inverse
from dts_gym.utils.validation import (
    LARGEST,
    boolean,
    choice,
    covariance,
    covariances,
    finite_array,
    integer,
    nonnegative,
)

ThetaIs = Literal["estimates", "posterior_means"]


class FeaturePrior(Prior):
    """``theta_a = B b_a + delta_a``: ``b_a`` a one and the features of item a, ``B`` unknown, ``delta_a ~ N(0, S)``.

    `fit` learns it from past items; `for_actions` is the prior of a problem whose actions are items with known
    features. Features are standardised with the means and deviations of the past items.

    Parameters
    ----------
    effects : (p + 1, d) mean of ``B'``: the intercept first, then a row for each standardised feature.
    feature_cov : (p + 1, p + 1) PSD covariance of ``B`` among the features, in units of ``row_cov``.
    row_cov : (d, d) PSD covariance of ``B`` among the coordinates: ``B'`` stacked has ``feature_cov kron row_cov``.
    action_cov : (d, d) PSD covariance ``S`` of what the features leave.
    item_features : (N, p) features of the past items, N >= 1.
    scales : (2,) scales ``tau_0`` of the intercept and ``tau`` of the features under which the effects were fitted.

    Attributes
    ----------
    dim : d.
    feature_map : what makes mixing weights of features.
    effects, feature_cov, row_cov, action_cov, item_features, scales : as given, as float64 arrays.

    Raises
    ------
    ValueError
        If a size does not match, a value is not finite or a covariance is not PSD.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(50, 3))
    >>> theta = z @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(50, 2))
    >>> prior = FeaturePrior.fit(theta, z)
    >>> prior
    FeaturePrior(dim=2, num_features=3)
    >>> prior.for_actions(z[:5])
    MixedEffectPrior(dim=2, num_actions=5, effect_dim=8)
    """

    def __init__(
        self,
        effects: Array,
        feature_cov: Array,
        row_cov: Array,
        action_cov: Array,
        item_features: Array,
        scales: Array,
    ) -> None:
        self.item_features = finite_array("item_features", item_features, (None, None), LARGEST)
        if not self.item_features.size:
            raise ValueError(f"item_features must have a row and a column or more, got {self.item_features.shape}")
        J = 1 + self.item_features.shape[1]
        self.effects = finite_array("effects", effects, (J, None), LARGEST)
        d = self.dim = self.effects.shape[1]
        if d < 1:
            raise ValueError(f"effects must have a column or more, got shape {self.effects.shape}")
        self.feature_cov = covariance("feature_cov", feature_cov, J)
        self.row_cov = covariance("row_cov", row_cov, d)
        self.action_cov = covariance("action_cov", action_cov, d)
        self.scales = nonnegative("scales", scales, 2)
        self.feature_map = FeatureMap.of(self.item_features)

    @classmethod
    def fit(
        cls, theta: Array, item_features: Array, noise_cov: Array | None = None, *, theta_is: ThetaIs = "estimates"
    ) -> Self:
        """Fit the prior to parameters of past items.

        Parameters
        ----------
        theta : (N, d) parameters of past items, N >= d + 2; their covariance must not be singular.
        item_features : (N, p) features of the items, p >= 1, of any units. Features that are the same for every item
            are left out.
        noise_cov : (d, d) or (N, d, d) covariance of each vector's error; None: the vectors are exact.
        theta_is : what ``theta`` and ``noise_cov`` are. "estimates": ``theta`` has errors that are independent of the
            truth (least squares), by which it varies more than the truth, so their mean covariance is subtracted.
            "posterior_means": ``theta`` is shrunk, the truth varies around it with the posterior covariance
            ``noise_cov``, whose mean is added.

        Returns
        -------
        FeaturePrior

        Raises
        ------
        ValueError
            If an argument is not as described.

        Warns
        -----
        UserWarning
            If some vectors, a twentieth at most, lie farther from what their features say than 8 standard deviations of
            the others: the prior is learned without these. If estimates vary less than their errors along a direction:
            there ``action_cov`` is 0. If the features, about as many as the items, explain ``theta`` wholly: then
            ``action_cov`` is about 0.

        Notes
        -----
        With ``Z`` a column of ones and the standardised features, ``R`` the covariance of a row of ``theta`` around its
        mean, and ``B ~ MN(0, R, T^2)``, ``T = diag(tau_0, tau, ..., tau)``, the scales and ``R`` maximise the marginal
        likelihood: ``R = Theta'(I + Z T^2 Z')^-1 Theta / N``. Then ``B' ~ MN(P Z'Theta, P, .)`` with
        ``P = (Z'Z + T^-2)^-1``, and ``S`` is ``R``, without or with the mean of ``noise_cov``. The error of ``B`` has
        ``P kron R`` for exact vectors and estimates, and ``P kron S`` for posterior means. With errors that differ by
        item this is not the maximum of their likelihood: every row counts alike. Where posterior means were shrunk
        towards a common mean, effects are underestimated: prefer estimates. O(N p min(N, p)).

        Examples
        --------
        >>> prior = FeaturePrior.fit([[0.9], [2.1], [2.9], [4.1]], [[1.0], [2.0], [3.0], [4.0]])
        >>> prior.for_actions([[5.0]]).marginals()[0].round(1)
        array([[5.1]])
        """
        choice("theta_is", theta_is, get_args(ThetaIs))
        seen = finite_array("theta", theta, (None, None), LARGEST)
        N, d = seen.shape
        if d < 1 or d + 2 > N:
            raise ValueError(f"theta must have a column or more, and two rows more than columns, got {seen.shape}")
        if factor(np.cov(seen, rowvar=False).reshape(d, d)).shape[1] < d:
            raise ValueError(f"theta must vary along all its {d} columns, got {N} rows in a space of fewer dimensions")
        z = finite_array("item_features", item_features, (N, None), LARGEST)
        if not z.shape[1]:
            raise ValueError(f"item_features must have a column or more, got shape {z.shape}")
        errors = None if noise_cov is None else covariances("noise_cov", noise_cov, N, d, LARGEST**2)
        out = residual_outliers(seen, FeatureMap.of(z).weights(z))
        if out.any():
            warnings.warn(outlier_warning("theta", out), stacklevel=2)
            seen, z = seen[~out], z[~out]
            errors = errors[~out] if errors is not None and errors.ndim == 3 else errors

        weights = FeatureMap.of(z).weights(z)  # (N, J)
        fitted = fit_scales(seen, weights[:, 1:])
        own, rows = fitted.row_cov, fitted.row_cov
        if errors is not None:
            mean_error = errors if errors.ndim == 2 else errors.mean(axis=0)
            if theta_is == "estimates":
                own = _without(own, mean_error)
            else:
                own = rows = own + mean_error
        scales = np.full(weights.shape[1], fitted.feature_scale)
        scales[0] = fitted.intercept_scale
        feature_cov = _posterior_cov(weights, scales)
        effects = feature_cov @ (weights.T @ seen)
        return cls(effects, feature_cov, rows, own, z, scales[:2])

    def residuals(self, theta: Array, item_features: Array) -> Array:
        """What the features leave of parameters of items: ``theta - B b`` at the mean of ``B``, (n, d).

        A chain fitted to those of past items (`dts_gym.pretraining.fit`) is a prior of it, for `for_actions`.

        Parameters
        ----------
        theta : (n, d) parameters.
        item_features : (n, p) features of the items, in the units of the fit.
        """
        weights = self.feature_map.weights(item_features)
        seen = finite_array("theta", theta, (len(weights), self.dim), LARGEST)
        return np.asarray(seen - weights @ self.effects)

    @overload
    def for_actions(
        self, item_features: Array, *, learn_effects: bool = ..., residual: None = ...
    ) -> MixedEffectPrior: ...
    @overload
    def for_actions(self, item_features: Array, *, learn_effects: bool = ..., residual: ChainPrior) -> OffsetPrior: ...
    def for_actions(
        self, item_features: Array, *, learn_effects: bool = True, residual: ChainPrior | None = None
    ) -> MixedEffectPrior | OffsetPrior:
        """The prior of a problem whose actions are items with these features.

        Parameters
        ----------
        item_features : (K, p) features of the items, in the units of the fit.
        learn_effects : whether an agent learns on about ``B``; False fixes it at its fit.
        residual : a chain that stands for what the features leave, in place of ``N(0, S)``, such as a denoiser; ``B``
            is then fixed at its fit.

        Returns
        -------
        MixedEffectPrior, or OffsetPrior with a ``residual``
            With ``W_a = b_a' kron I_d``, in mixing weights (K, p + 1); the effects are the columns of ``B`` one after
            the other.

        Examples
        --------
        >>> prior = FeaturePrior.fit([[0.9], [2.1], [2.9], [4.1]], [[1.0], [2.0], [3.0], [4.0]])
        >>> prior.for_actions([[2.5], [2.5]], learn_effects=False).effect_cov
        array([[0., 0.],
               [0., 0.]])
        """
        learned = boolean("learn_effects", learn_effects)
        weights = self.feature_map.weights(item_features)
        if not len(weights):
            raise ValueError(f"item_features must have a row or more, got {len(weights)}")
        if residual is not None:
            if isinstance(residual, ChainPrior) and residual.dim != self.dim:
                raise ValueError(f"residual must have dim {self.dim}, got a prior of dim {residual.dim}")
            return OffsetPrior(residual, weights @ self.effects)
        q = self.effects.size
        cov = np.asarray(np.kron(self.feature_cov, self.row_cov)) if learned else np.zeros((q, q))
        return MixedEffectPrior(weights, cov, self.action_cov, self.effects.ravel(), feature_map=self.feature_map)

    @cached_property
    def _roots(self) -> tuple[Array, Array, Array]:
        return factor(self.feature_cov), factor(self.row_cov), factor(self.action_cov)

    def sample(self, rng: np.random.Generator, num_actions: int) -> Array:
        """Draw the parameters of ``num_actions`` items, (K, d), with features of past items picked at random."""
        K = integer("num_actions", num_actions, 1)
        weights = self.feature_map.weights(self.item_features[rng.integers(len(self.item_features), size=K)])
        among, rows, own = self._roots
        effects = self.effects + among @ rng.standard_normal((among.shape[1], rows.shape[1])) @ rows.T
        return np.asarray(weights @ effects + rng.standard_normal((K, own.shape[1])) @ own.T)

    def _repr_facts(self) -> dict[str, Any]:
        return {**super()._repr_facts(), "num_features": self.item_features.shape[1]}

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `prior_from_state` accepts them."""
        names = ("effects", "feature_cov", "row_cov", "action_cov", "item_features", "scales")
        return {"kind": "features"}, {name: getattr(self, name) for name in names}


def _posterior_cov(weights: Array, scales: Array) -> Array:
    """``(Z'Z + T^-2)^-1`` (J, J) of weights ``Z`` (N, J); ``T = diag(scales)``, of which some may be 0."""
    scaled = weights * scales
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    root = scales[:, None] * vectors / np.sqrt(1.0 + values.clip(0.0))
    return np.asarray(root @ root.T)


def _without(total: Array, errors: Array) -> Array:
    """``total - errors`` (d, d), with 0 along the directions in which it would be negative, and then a warning."""
    root, inverse = factor_and_inverse(total)
    shares, vectors = np.linalg.eigh(inverse @ errors @ inverse.T)  # in units of the total
    if (shares > 1.0).any():
        warnings.warn(
            f"noise_cov is larger than what theta varies along {(shares > 1.0).sum()} of {len(shares)} directions: "
            "action_cov is 0 there",
            stacklevel=3,
        )
    turned = root @ vectors
    return np.asarray((turned * (1.0 - shares).clip(0.0)) @ turned.T)
