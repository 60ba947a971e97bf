"""Newton's method for the rewards of one parameter vector: a concave log-likelihood, with a normal prior or without.

A full step is taken where no predictor moves by more than one, because there the families' self-concordance
(``|A'''| <= A''``) proves that it goes uphill; elsewhere the step is doubled or halved by the sign of the slope along
it. That reaches at least half of the possible gain along the line, and needs no likelihoods, whose differences would be
lost to rounding at large counts.

Many searches can be made at once, as rows of arrays. Each has steps and an end of its own: its numbers do not depend on
the searches beside it.

Source: Tran-Dinh, Kyrillidis, Cevher, "Composite self-concordant minimization" (2015), for the steps' proof.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dposv

from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array

MAX_STEPS = 200
MAX_STEPS_WITHOUT_PRIOR = 50
# Predictors' last move, and the squared distance to the optimum in posterior standard deviations, at which to stop:
# after the step that reaches them the error is about their square.
_SMALL_MOVE, _SMALL_DECREMENT = 1e-8, 1e-16
# A step that moves predictors a little changes the Hessian by the same relative amount, and leaves that share of the
# distance; this product, squared, is small enough too.
_SMALL_REST = 1e-20
# Above this ratio of data to prior the normal equations lose the prior's part; the step is then found by QR.
_WELL_CONDITIONED = 1e10
# A predictor this far above the logarithm of the largest reward is too high for a start.
_HEADROOM = 7.0
# A Hessian of unit diagonal is singular if its least eigenvalue over d is below this.
_SINGULAR = 1e-12


def maximise(
    model: RewardModel,
    Z: Array,
    offset: Array,
    y: Array,
    z: Array,
    precision: float,
    counts: Array | float = 1.0,
) -> Array:
    """The maximum of ``log P(y | offset + Z z) - precision |z|^2 / 2`` over ``z``, of one action or of B.

    Parameters
    ----------
    model : distribution of a reward given its linear predictor.
    Z, offset : (n, r) and (n,), the predictors' map; n and r may be 0. Of B actions (B, n, r) and (B, n): those with
        fewer rewards than n are filled up with rows of zeros, whose rewards are zero.
    y : (..., n) rewards; for rows that represent several, their sums.
    z : (..., r) point to begin from.
    precision : precision of the prior, positive.
    counts : (..., n) numbers of rewards that the rows represent, positive, not necessarily whole; 1 for all by default.

    Returns
    -------
    (..., r)

    Notes
    -----
    Exact: the maximum exists and is unique. A step costs O(n r^2 + r^3), a trial on the line O(n). After
    `MAX_STEPS` steps the last point is returned. Arguments are not checked; the result is not finite where products
    overflow.

    Examples
    --------
    >>> from dts_gym.problem.rewards import GaussianReward
    >>> maximise(GaussianReward(), np.ones((3, 1)), np.zeros(3), np.ones(3), np.zeros(1), 1.0)
    array([0.75])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ceiling = np.log1p(np.abs(y / counts).max(axis=-1, initial=0.0)) + _HEADROOM
        is_high = (offset + np.matvec(Z, z)).max(axis=-1, initial=-np.inf) > ceiling
        if Z.ndim > 2:
            far = [i for i in np.flatnonzero(is_high).tolist() if _explodes(model, float(ceiling[i]))]
            return _maximise_all(_Searches(Z, offset, y, z, counts), model, precision, far)
        curve, top = _curve(model, counts), float(ceiling)
        while is_high and _explodes(model, top):
            z = _climb(_LineAbove(curve, top), Z, offset, y, z, precision)
            top += _HEADROOM
            is_high = (offset + Z @ z).max() > top
        return _climb(curve, Z, offset, y, z, precision)


class _Searches(NamedTuple):
    """Arguments of `maximise` for several actions."""

    Z: Array
    offset: Array
    y: Array
    z: Array
    counts: Array | float

    def some(self, rows: Any) -> _Searches:
        counts = self.counts if isinstance(self.counts, float) else self.counts[rows]
        return _Searches(self.Z.mT[rows].mT, self.offset[rows], self.y[rows], self.z[rows], counts)


def _maximise_all(searches: _Searches, model: RewardModel, precision: float, far: list[int]) -> Array:
    """`maximise` for several actions; for those that are ``far`` one by one."""
    found = searches.z.copy()
    for i in far:
        Z, offset, y, z, counts = searches.some(i)
        found[i] = maximise(model, Z, offset, y, z, precision, counts)
    left = np.delete(np.arange(len(found)), far)
    searches = searches.some(left) if far else searches
    for _ in range(MAX_STEPS):
        if not left.size:
            break
        curve = _curve(model, searches.counts)
        eta, step, move, decrement = _direction(curve, *searches[:4], precision)
        reach = np.abs(move).max(axis=-1)
        for i in np.flatnonzero(~(reach <= 1.0)).tolist():
            _, _, y, z, counts = searches.some(i)
            own = _curve(model, counts)
            step[i] *= _step_length(own, eta[i], move[i], y, float(decrement[i]), precision, z, step[i])
        found[left] += step
        going = ~_has_arrived(reach, decrement)
        left = left[going]
        searches = searches._replace(z=searches.z + step).some(going)
    return found


def _explodes(model: RewardModel, eta: float) -> bool:
    """Whether the mean is exponential there and its growth not yet capped."""
    slope = model.derivative(np.array([eta, eta + 1.0]))
    return bool(slope[1] > 2.0 * slope[0])


class _Curve(Protocol):
    """The part of a reward model that Newton's method uses."""

    @property
    def dispersion(self) -> float: ...

    def mean(self, eta: Array) -> Array: ...

    def derivative(self, eta: Array) -> Array: ...


class _Counted:
    """A reward model whose rows represent several rewards each: the mean of their sums, and its derivative."""

    def __init__(self, model: RewardModel, counts: Array) -> None:
        self._model, self._counts, self.dispersion = model, counts, model.dispersion

    def mean(self, eta: Array) -> Array:
        return np.asarray(self._counts * self._model.mean(eta))

    def derivative(self, eta: Array) -> Array:
        return np.asarray(self._counts * self._model.derivative(eta))


class _LineAbove:
    """A reward model whose mean continues as a straight line above a predictor: still concave, without overflow.

    Far above, an exponential mean would hide the prior and other rewards in rounding. A maximum whose
    predictors are all below is the model's own; one near it is a good start.
    """

    def __init__(self, model: _Curve, ceiling: float) -> None:
        self._model, self._ceiling, self.dispersion = model, ceiling, model.dispersion

    def mean(self, eta: Array) -> Array:
        below = np.minimum(eta, self._ceiling)
        return self._model.mean(below) + self._model.derivative(below) * (eta - below)

    def derivative(self, eta: Array) -> Array:
        return self._model.derivative(np.minimum(eta, self._ceiling))


def _curve(model: RewardModel, counts: Array | float) -> _Curve:
    return model if isinstance(counts, float) else _Counted(model, counts)


def _climb(model: _Curve, Z: Array, offset: Array, y: Array, z: Array, precision: float) -> Array:
    """Newton's method for `maximise`."""
    for _ in range(MAX_STEPS):
        eta, step, move, decrement = _direction(model, Z, offset, y, z, precision)
        reach, slope = float(np.abs(move).max(initial=0.0)), float(decrement)
        if not reach <= 1.0:
            step = _step_length(model, eta, move, y, slope, precision, z, step) * step
        z = z + step
        if _has_arrived(reach, slope):
            break
    return z


def _direction(
    model: _Curve, Z: Array, offset: Array, y: Array, z: Array, precision: float
) -> tuple[Array, Array, Array, Array]:
    """Predictors (..., n), a full step (..., r), the predictors' move by it (..., n) and its decrement (...)."""
    eta = offset + np.matvec(Z, z)
    gradient = np.vecmat(y - model.mean(eta), Z) / model.dispersion - precision * z
    step = _newton_step(Z, model.derivative(eta) / model.dispersion, precision, gradient)
    return eta, step, np.matvec(Z, step), np.vecdot(gradient, step)


def _has_arrived(reach: Any, decrement: Any) -> Any:
    """Whether a step of that reach and decrement, of one search or of each, was the last."""
    return (reach <= _SMALL_MOVE) | (decrement <= _SMALL_DECREMENT) | (reach * reach * decrement <= _SMALL_REST)


def climb_without_prior(model: RewardModel, X: Array, y: Array, t: Array) -> Array | None:
    """The maximum of ``log P(y | X t)`` from ``t``, (d,), or None where there seems to be none.

    None is returned if on the way the Hessian, scaled to unit diagonal, has an eigenvalue below ``1e-12 d`` (contexts
    that do not span the space, weights that have vanished), or if the Newton decrement squared falls below 1e-6 while a
    predictor still moves by more than 1/2 a step (separable rewards: the maximum is at infinity), or if 50 steps do
    not suffice. A step costs as much as one of `maximise`.

    Examples
    --------
    >>> from dts_gym.problem.rewards import GaussianReward
    >>> climb_without_prior(GaussianReward(), np.ones((3, 1)), np.full(3, 0.5), np.zeros(1))
    array([0.5])
    >>> climb_without_prior(GaussianReward(), np.ones((3, 2)), np.full(3, 0.5), np.zeros(2)) is None
    True
    """
    nothing = np.zeros_like(t)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(MAX_STEPS_WITHOUT_PRIOR):
            eta = X @ t
            scaled = X * np.sqrt(model.derivative(eta) / model.dispersion)[:, None]
            unit = np.sqrt((scaled * scaled).sum(axis=0))  # (d,)
            if not ((unit > 0) & np.isfinite(unit)).all():
                return None
            values, vectors = np.linalg.eigh((scaled / unit).T @ (scaled / unit))
            if values[0] <= _SINGULAR * len(t):
                return None
            gradient = (y - model.mean(eta)) @ X / model.dispersion
            step = (vectors @ ((gradient / unit) @ vectors / values)) / unit
            move, decrement = X @ step, float(gradient @ step)
            reach = np.abs(move).max()
            length = 1.0 if reach <= 1.0 else _step_length(model, eta, move, y, decrement, 0.0, nothing, step)
            t = t + length * step
            if reach <= _SMALL_MOVE:
                return t
            if reach > 0.5 and decrement < 1e-6:
                return None
    return None


def _newton_step(Z: Array, weight: Array, precision: float, gradient: Array) -> Array:
    """``(precision I + Z' diag(weight) Z)^-1 gradient``, (..., r)."""
    r = gradient.shape[-1]
    hessian = (Z.mT * weight[..., None, :]) @ Z
    diagonal = hessian.reshape(*gradient.shape[:-1], -1)[..., :: r + 1]
    trace = diagonal.sum(axis=-1)
    if r <= 1:
        return np.asarray(gradient / (trace[..., None] + precision))
    diagonal += precision
    if Z.ndim > 2:
        rounded = ~(trace <= _WELL_CONDITIONED * precision)
        hessian[rounded] = np.eye(r)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        for i in np.flatnonzero(rounded).tolist():
            step[i] = _newton_step(Z[i], weight[i], precision, gradient[i])
        return np.asarray(step)
    if trace <= _WELL_CONDITIONED * precision:
        _, step, failed = dposv(hessian, gradient)
        if not failed:
            return np.asarray(step)
    scaled = Z * np.sqrt(weight)[:, None]
    R = np.linalg.qr(np.concatenate([scaled, np.sqrt(precision) * np.eye(r)]), mode="r")
    half = solve_triangular(R, gradient, trans="T", check_finite=False)
    return np.asarray(solve_triangular(R, half, check_finite=False))


def _step_length(
    model: _Curve, eta: Array, move: Array, y: Array, slope: float, precision: float, z: Array, step: Array
) -> float:
    """The share of a Newton step to take, which is ``move`` in the predictors, by more than one, and ``step`` in ``z``.

    ``slope`` is the objective's slope along the step at its start. Only its decrease along the line is used.
    """
    reach = float(np.abs(move).max())
    drift, bend = precision * float(z @ step), precision * float(step @ step)

    def slope_at(s: float) -> float:
        return float((y - model.mean(eta + s * move)) @ move) / model.dispersion - drift - s * bend

    size, at_size = 1.0, slope_at(1.0)
    if abs(at_size) <= 0.1 * slope / (1.0 + reach):
        return size
    if at_size > 0:
        while slope_at(2.0 * size) >= 0 and size < 1e100:
            size *= 2.0
        return size
    while at_size < 0 and size > 1e-100:
        size /= 2.0
        at_size = slope_at(size)
    return size
