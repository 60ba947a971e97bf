r"""Evidence of generalised linear rewards: the log-likelihood of an action's rewards, expanded at one point.

At ``t`` the rewards ``y`` at contexts ``x`` say about the action's parameters, to second order,
``exp(-v'Gv/2 + h'v)`` with ``G = sum g'(x't) x x'`` and ``h = G t + sum x (y - g(x't))`` (both over the dispersion,
1 but for Gaussian rewards). Gaussian rewards are quadratic: there it is exact, whatever ``t``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.newton import climb_without_prior, maximise
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.validation import covariance, finite_array, positive


class MLE(NamedTuple):
    """A maximum-likelihood estimate, ``(B_hat, G_hat)`` in the deck.

    Attributes
    ----------
    point : (d,), the estimate, or the ridge estimate where there is none.
    precision : (d, d), ``sum g'(x' point) x x'`` over the dispersion; without the ridge.
    exists : whether ``point`` is the maximum-likelihood estimate.
    """

    point: Array
    precision: Array
    exists: bool


def expand(model: RewardModel, X: Array, y: Array, t: Array) -> Evidence:
    """Evidence of rewards on the parameters, the log-likelihood expanded to second order at ``t``.

    Parameters
    ----------
    model : law of a reward given ``x' theta``.
    X : (n, d) contexts; n may be 0.
    y : (n,) rewards.
    t : (d,), the point.

    Returns
    -------
    Evidence
        (d, d) symmetric PSD and (d,).

    Notes
    -----
    Exact for Gaussian rewards, else an approximation that is exact in value, slope and curvature at ``t``. At the
    maximum-likelihood estimate it is the deck's ``(G_hat, G_hat B_hat)``. O(n d^2). Arguments are not checked.

    Examples
    --------
    >>> from dts_gym.problem.rewards import BernoulliReward
    >>> expand(BernoulliReward(), np.array([[2.0]]), np.array([1.0]), np.array([0.0]))
    Evidence(G=array([[1.]]), h=array([1.]))
    """
    eta = X @ t
    weight = model.derivative(eta)
    scaled = X * np.sqrt(weight / model.dispersion)[:, None]
    return Evidence(scaled.T @ scaled, (weight * eta + (y - model.mean(eta))) @ X / model.dispersion)


def map_estimate(model: RewardModel, X: Any, y: Any, mean: Any, cov: Any, start: Any | None = None) -> Array:
    """The most probable parameters given rewards, under the prior ``N(mean, cov)``.

    Parameters
    ----------
    model : law of a reward given ``x' theta``.
    X, y : (n, d) contexts and (n,) rewards, of the family's support; n may be 0.
    mean, cov : (d,) and (d, d) PSD; where ``cov`` is singular the estimate stays in ``mean + range(cov)``.
    start : (d,) where to begin (at its nearest point in ``mean + range(cov)``); None: the mean. The result depends
        on it by rounding only.

    Returns
    -------
    (d,)
        To about 1e-8 posterior standard deviations, or to rounding where predictors are large.

    Raises
    ------
    ValueError
        If a shape does not match, a value is not finite, ``cov`` is not PSD or a product overflows.

    Notes
    -----
    Exact (it exists and is unique: the prior is normal, the log-likelihood concave). A handful of Newton steps, each
    O(n d^2 + d^3), in coordinates in which the prior is ``N(0, I)``; at most 200, then the best point is returned.

    Examples
    --------
    >>> from dts_gym.problem.rewards import PoissonReward
    >>> map_estimate(PoissonReward(), [[1.0]], [3.0], [0.0], [[1.0]]).round(4)
    array([0.7921])
    """
    X, y = _rounds(X, y)
    d = X.shape[1]
    mean = finite_array("mean", mean, (d,))
    root = factor(covariance("cov", cov, d))
    z = np.zeros(root.shape[1])
    if start is not None:
        z = np.linalg.pinv(root) @ (finite_array("start", start, (d,)) - mean)
    with np.errstate(over="ignore", invalid="ignore"):
        point = fit_map(model, X, y, mean, root, z)
        refuse_overflow(point, expand(model, X, y, point))
    return point


def mle_estimate(model: RewardModel, X: Any, y: Any, ridge: float = 0.01, start: Any | None = None) -> MLE:
    """The maximum-likelihood estimate, or a ridge estimate where there is none.

    Parameters
    ----------
    model : law of a reward given ``x' theta``.
    X, y : (n, d) contexts and (n,) rewards, of the family's support; n may be 0.
    ridge : of the estimate that replaces it: the maximum of the log-likelihood less ``ridge |t|^2 / 2``.
    start : (d,) where to begin; None: zero.

    Returns
    -------
    MLE

    Raises
    ------
    ValueError
        If a shape does not match, a value is not finite or ``ridge`` is not positive.

    Notes
    -----
    The ridge estimate, which always exists, comes first; from it Newton's method goes on without the ridge. There
    is no maximum-likelihood estimate if on this way the Hessian, scaled to unit diagonal, has an eigenvalue below
    ``1e-12 d`` (contexts that do not span the space, weights that have vanished), or if the Newton decrement squared
    falls below 1e-6 while a predictor still moves by more than 1/2 a step (separable rewards: all that is left to
    gain lies at infinity), or if 50 steps do not do.

    Examples
    --------
    >>> from dts_gym.problem.rewards import BernoulliReward
    >>> X = [[1.0], [1.0], [1.0]]
    >>> fit = mle_estimate(BernoulliReward(), X, [1.0, 1.0, 0.0])
    >>> fit.point.round(4), fit.exists  # the logit of 2/3
    (array([0.6931]), True)
    >>> mle_estimate(BernoulliReward(), X, [1.0, 1.0, 1.0]).exists
    False
    """
    X, y = _rounds(X, y)
    d = X.shape[1]
    begin = np.zeros(d) if start is None else finite_array("start", start, (d,))
    strength = positive("ridge", ridge)
    with np.errstate(over="ignore", invalid="ignore"):
        point, exists = fit_mle(model, X, y, strength, begin)
        evidence = expand(model, X, y, point)
    refuse_overflow(point, evidence)
    return MLE(point, evidence.G, exists)


def fit_map(model: RewardModel, X: Array, y: Array, mean: Array, root: Array, z: Array) -> Array:
    """`map_estimate` in ``mean + root z``, unchecked."""
    return np.asarray(mean + root @ maximise(model, X @ root, X @ mean, y, z, 1.0))


def fit_mle(model: RewardModel, X: Array, y: Array, ridge: float, start: Array) -> tuple[Array, bool]:
    """Point and existence of `mle_estimate`, unchecked."""
    with_ridge = maximise(model, X, np.zeros(len(y)), y, start, ridge)
    point = climb_without_prior(model, X, y, with_ridge)
    return (with_ridge, False) if point is None else (point, True)


def refuse_overflow(point: Array, evidence: Evidence) -> None:
    """ValueError unless all is finite."""
    if not all(np.isfinite(part).all() for part in (point, *evidence)):
        raise ValueError(f"contexts and rewards must have finite products, got the evidence {evidence!r:.200}")


def _rounds(X: Any, y: Any) -> tuple[Array, Array]:
    """Contexts and rewards, checked."""
    X = finite_array("X", X, (None, None))
    return X, finite_array("y", y, (len(X),))
