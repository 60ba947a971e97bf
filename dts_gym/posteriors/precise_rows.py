"""Normal distributions whose data outweigh the prior by more than float64 holds, in twofold precision.

A variance that data have shrunk by 1e16 is the difference of numbers that agree in all of float64's digits. Here a
distribution is kept as ``N(mean, V diag(scales) V')`` with ``V`` unit upper triangular: conditioning on an observation
multiplies and divides the scales, in which nothing cancels, and what cancels in ``V'x`` has 32 digits. A bound on the
rounding so far goes with every number, and a reading is refused where that bound is not small beside its deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.columns import Columns
from dts_gym.utils.twofold import EPS, Twofold

# Evidence up to this many times the prior's costs a float64 row some 1e-7 of a deviation; beyond, rows are kept here.
LIMIT = 2e9
_ENOUGH = 1e-6  # the largest relative error of a deviation, and error of a mean in deviations, that is returned
_MOST = 1e150  # a rounding in deviations that is cut, so that its square is finite
_UNIT = float(np.finfo(np.float64).eps)
# Operations of an update through which a number passes, and their largest rounding.
ROUNDING = 8 * EPS


class Observation(NamedTuple):
    """Readings ``value ~ N(x' theta, variance)`` of k vectors, in twofold precision.

    Attributes
    ----------
    x : (k, d), float64 where it is exact.
    value, variance : (k,).
    x_error : () or (k, d), the most that rounding may have changed the entries of ``x``.
    value_error : () or (k,), the most that it may have changed ``value``.
    gain : (k, d), where an action's row tells of its prior's mean: covariances of its parameters and its score.
    """

    x: Twofold | Array
    value: Twofold
    variance: Twofold
    x_error: Array | float = 0.0
    value_error: Array | float = 0.0
    gain: Array | None = None

    def one(self, i: int) -> Observation:
        """Observation ``i`` alone."""
        x_error, value_error = np.atleast_2d(self.x_error), np.atleast_1d(self.value_error)
        gain = None if self.gain is None else self.gain[[i]]
        return Observation(self.x[[i]], self.value[[i]], self.variance[[i]], x_error[[i]], value_error[[i]], gain)


class Readings(NamedTuple):
    """What is known of ``q' theta`` for k queries, one a row.

    Attributes
    ----------
    mean : (k,).
    root : (k, d), the reading is ``mean + root z`` with ``z ~ N(0, I)``, the same for all queries of one row.
    mean_error, std_error : (k,) the most that rounding may have changed the mean and the deviation ``|root|``.
    """

    mean: Twofold
    root: Array
    mean_error: Array
    std_error: Array


class PreciseRows:
    """Normal distributions of vectors (d,), and how each vector's mean follows a shift of its prior's mean.

    Parameters
    ----------
    dim : d.
    shift_std : (d,) prior deviations of the shifts; zeros where nothing shifts.

    Notes
    -----
    Exact, to the bounds that are computed with each reading. They take what rounding has done so far for a change of
    the past observations, relative to their size in each coordinate, that grows with their number; and follow it to the
    reading, first order and second. An observation costs O(d^2) in twofold numbers, some 400 array operations, and
    O(d^3) in float64.

    Source: Bierman, "Factorization Methods for Discrete Sequential Estimation" (1977), chapter V.
    """

    def __init__(self, dim: int, shift_std: Array | None = None) -> None:
        self.dim = dim
        self.shift_std = np.zeros(dim) if shift_std is None else shift_std
        # What an observation contracts, side by side: the mean, and how it follows shifts.
        kinds = {"factor": (dim, dim), "scales": (dim,), "contracted": (dim, 1 + dim)}
        both = {f"{name}_{part}": (shape, np.float64) for name, shape in kinds.items() for part in ("high", "low")}
        self._columns = Columns(
            {
                **both,
                "weights": ((dim,), np.float64),  # roots of the precision's diagonal, if nothing cancelled in it
                "told": ((dim,), np.float64),  # diagonal of the observations' part of it
                # Sums of squares, in the observations' deviations: of their values, of innovations, and of what
                # rounding had changed in contexts and values before they came.
                "values": ((), np.float64),
                "moved": ((), np.float64),
                "contexts_off": ((dim,), np.float64),
                "lost": ((), np.float64),  # how far off the first covariance's root was, relative to itself
                "values_off": ((), np.float64),
                "natural_off": ((dim,), np.float64),  # what those changed in ``x value / variance``
                "count": ((), np.int64),
            }
        )

    def __len__(self) -> int:
        return len(self._columns)

    def _twofold(self, name: str, rows: IntArray | slice) -> Twofold:
        return Twofold(self._columns[f"{name}_high"][rows], self._columns[f"{name}_low"][rows])

    def _set(self, name: str, rows: IntArray, value: Twofold) -> None:
        self._columns[f"{name}_high"][rows], self._columns[f"{name}_low"][rows] = value.high, value.low

    def append(self, mean: Twofold, cov: Twofold, follow: Twofold, lost: float = 0.0) -> int:
        """Add a row ``N(mean, cov)``, (d,) and (d, d), whose mean moves by ``follow`` (d, d) times a shift.

        ``lost`` is how far off the covariance's root is already, relative to itself. Returns the row's number.
        """
        row = len(self)
        self._columns.append()
        at = np.array([row])
        factor, scales = _factored(cov)
        self._set("factor", at, factor)
        self._set("scales", at, scales)
        high, low = (
            np.hstack([one[:, None], other]) for one, other in ((mean.high, follow.high), (mean.low, follow.low))
        )
        self._set("contracted", at, Twofold(high, low))
        self._columns["weights"][row] = _weights(factor.high[None], scales.high[None])[0]
        self._columns["lost"][row] = lost
        self._columns["count"][row] = 1
        return row

    def remove(self, row: int) -> None:
        """Remove a row, whose number the last row takes."""
        self._columns.remove(row)

    def observe(self, rows: IntArray, seen: Observation) -> None:
        """Condition different rows on an observation each, all (k, ...)."""
        self._observe(rows, seen, is_told=False)

    def told(self, rows: IntArray, seen: Observation) -> Observation:
        """`observe`, and what each observation says of the shift of its row's prior mean.

        Returns
        -------
        Observation
            ``value ~ N(x' shift, variance)``.
        """
        told = self._observe(rows, seen, is_told=True)
        assert told is not None
        return told

    def _observe(self, rows: IntArray, seen: Observation, is_told: bool) -> Observation | None:
        x, value, noise, x_error, value_error, _ = seen
        columns = self._columns
        V, scales, contracted = (self._twofold(name, rows) for name in ("factor", "scales", "contracted"))
        size = np.abs(Twofold.of(x).high)
        f = (V * x[:, :, None]).sum(-2)  # (k, d)
        g = scales * f
        grown = (f * g).cumsum() + noise[:, None]  # the observation's variance by the first 1, 2, ... entries
        before = _shifted(grown, noise)
        gains = (V * g[:, None, :]).cumsum()  # (k, d, d), column j: the gain by the first j + 1 entries
        V_after = V - (f / before)[:, None, :] * _shifted(gains, Twofold(np.zeros(f.high.shape)))
        # Seen alone, an entry has its row without what cancels above: ``V'x`` becomes ``f noise / before``.
        is_seen = (size > 0.0) & ((size > 0.0).sum(-1, keepdims=True) == 1)
        V_after[is_seen] = (V * (noise[:, None] / before)[:, None, :])[is_seen]
        scales_after = scales * (before / grown)
        total = grown[:, -1]
        along = (contracted * x[:, :, None]).sum(-2)  # (k, 1 + d)
        residual = value - along[:, 0]
        told = None
        if is_told:
            mean_error = np.zeros(len(rows))
            if self.shift_std.any():  # else nothing depends on what is told
                mean_error = self._off(rows, size, V.high, f.high, scales.high, contracted.high)[1]
            told = Observation(
                along[:, 1 : 1 + self.dim],
                residual,
                total,
                self._follow_error(rows, size),
                mean_error,
                gains[..., -1].high,
            )
            along = along.copy()
        along[:, 0] = -residual
        gain = gains[..., -1] / total[:, None]
        self._set("factor", rows, V_after)
        self._set("scales", rows, scales_after)
        self._set("contracted", rows, contracted - gain[:, :, None] * along[:, None, :])
        columns["weights"][rows] = _weights(V_after.high, scales_after.high)
        columns["values"][rows] += value.high * (value.high / noise.high)
        columns["moved"][rows] += residual.high * (residual.high / total.high)
        columns["told"][rows] += size * (size / noise.high[:, None])
        if np.any(x_error):
            columns["contexts_off"][rows] += np.square(np.minimum(x_error / np.sqrt(noise.high)[:, None], _MOST))
        value_off = np.minimum(value_error / np.sqrt(noise.high), _MOST)
        columns["values_off"][rows] += np.square(value_off)
        entries = np.minimum((size + x_error) / np.sqrt(noise.high)[:, None], _MOST)
        columns["natural_off"][rows] = np.minimum(columns["natural_off"][rows] + entries * value_off[:, None], _MOST)
        columns["count"][rows] += 1
        return told

    def read(self, rows: IntArray, queries: Twofold, query_error: Array | float = 0.0) -> Readings:
        """Distributions of ``q' theta`` by one query a row: (k,) and (k, d).

        ``query_error`` (k, d) is the most that rounding may have changed the queries.
        """
        V, scales, contracted = (self._twofold(name, rows) for name in ("factor", "scales", "contracted"))
        seen = (V * queries[:, :, None]).sum(-2).high
        size = np.abs(queries.high)
        std_error, mean_error = self._off(rows, size, V.high, seen, scales.high, contracted.high, query_error)
        return Readings((contracted[..., 0] * queries).sum(-1), seen * np.sqrt(scales.high), mean_error, std_error)

    def _rounding(self, rows: IntArray) -> Array:
        """How much rounding may have changed past observations, relative to themselves: (k,)."""
        return np.asarray(self._columns["count"][rows] * (self.dim * ROUNDING))

    def _off(
        self,
        rows: IntArray,
        size: Array,
        V: Array,
        seen: Array,
        scales: Array,
        contracted: Array,
        query_error: Array | float = 0.0,
    ) -> tuple[Array, Array]:
        """The most that rounding may have changed the deviations and means of readings, (k,) each.

        ``size`` (k, d) are the queries' sizes and ``seen`` (k, d) is ``V'q``; the others are the rows' own.
        """
        columns, mean = self._columns, np.abs(contracted[..., 0])
        std = np.sqrt((scales * seen * seen).sum(-1))
        weights, rounding = columns["weights"][rows], self._rounding(rows)
        # The observations E'v + A'v ~ N(., I), with A' computed and E' what rounding has changed, move the precision by
        # A E' + E A' + E E'; so the deviation of a reading moves by |E' Sigma q| / std of itself to first order, and
        # where |E' Sigma E| is small, by its square to second.
        off = np.sqrt(columns["contexts_off"][rows])
        reached = np.abs((V * (scales * seen)[:, None, :]).sum(-1))  # |Sigma q|
        moves = rounding * (weights * reached).sum(-1) + (off * reached).sum(-1)
        first = np.divide(moves, std, out=np.zeros(len(std)), where=std > 0)
        stds = np.sqrt(((V * V) * scales[:, None, :]).sum(-1))
        second = rounding * (weights * stds).sum(-1) + (off * stds).sum(-1)
        relative = first + second * second + columns["lost"][rows]
        # Rounding of this reading, where V'q cancels.
        query_error = query_error + self.dim * ROUNDING * size
        now = (np.abs(V) * query_error[:, :, None]).sum(-2)
        squares = (scales * now * (2 * np.abs(seen) + now)).sum(-1)
        std_error = std * relative + np.minimum(
            np.sqrt(squares), np.divide(squares, std, out=np.full(len(std), np.inf), where=std > 0)
        )
        moved, off = np.sqrt(columns["moved"][rows]), np.sqrt(columns["values_off"][rows])
        values = np.sqrt(columns["values"][rows]) + (weights * mean).sum(-1)
        told = np.minimum(std, (np.sqrt(columns["told"][rows]) * reached).sum(-1))
        # What changed values move: by all that is told along this reading, or by each that was told, if that is less.
        off = np.minimum(told * off, (columns["natural_off"][rows] * reached).sum(-1))
        mean_error = told * rounding * values + off + std_error * moved + (query_error * mean).sum(-1)
        return std_error, mean_error

    def follow(self, rows: IntArray, contexts: Array) -> tuple[Twofold, Array]:
        """``F'x``: how ``x' theta`` follows a shift of the prior's mean, a context a row, and its rounding, (k, d)."""
        followed = (self._twofold("contracted", rows)[..., 1 : 1 + self.dim] * contexts[:, :, None]).sum(-2)
        return followed, self._follow_error(rows, np.abs(contexts))

    def _follow_error(self, rows: IntArray, size: Array) -> Array:
        """The most that rounding may have changed ``F'x`` for ``|x|``, (k, d)."""
        moved = self._rounding(rows) * (size @ self.shift_std)
        per = np.divide(1.0, self.shift_std, out=np.zeros(self.dim), where=self.shift_std > 0)
        return np.asarray(moved[:, None] * per)

    def moments(self, rows: IntArray) -> tuple[Array, Array, Array]:
        """Means (k, d), roots (k, d, d) of the covariances, and how means follow (k, d, d): each entry rounded once."""
        contracted = self._columns["contracted_high"][rows]
        roots = self._columns["factor_high"][rows] * np.sqrt(self._columns["scales_high"][rows])[:, None, :]
        return contracted[..., 0], roots, contracted[..., 1 : 1 + self.dim]

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return self._columns.state()

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._columns.restore(state)


def refuse(mean: Array, std: Array, mean_error: Array, std_error: Array) -> None:
    """Raise ValueError where rounding may be off a reading by more than a millionth of its deviation.

    A mean may be off by the rounding of its float64 number too.
    """
    lost = (std_error > _ENOUGH * std) | (mean_error > _ENOUGH * std + 2 * _UNIT * np.abs(mean))
    if lost.any():
        raise ValueError(
            "context must be one along which 32 digits hold an action's posterior to a millionth of its deviation, got "
            "one along which rewards outweigh the prior, or contradict it, by too much: divide contexts by their "
            "scale, or state noise_std= and the prior in the rewards' units"
        )


def _shifted(cumulative: Twofold, first: Twofold) -> Twofold:
    """Sums of the numbers before each one, along the last axis: ``first`` (...) before the first."""
    high = np.concatenate([first.high[..., None], cumulative.high[..., :-1]], axis=-1)
    low = np.concatenate([first.low[..., None], cumulative.low[..., :-1]], axis=-1)
    return Twofold(high, low)


def _weights(V: Array, scales: Array) -> Array:
    """Roots of the diagonal of the precision ``V'^-1 diag(scales)^-1 V^-1`` if nothing cancelled in it, (k, d)."""
    inverse = np.abs(np.linalg.inv(V))
    through = inverse @ np.abs(V) @ inverse
    known = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales > 0)
    return np.asarray(np.sqrt((through * through * known[:, :, None]).sum(-2)))


def _factored(cov: Twofold) -> tuple[Twofold, Twofold]:
    """``V`` unit upper triangular (d, d) and ``D`` (d,) with ``V diag(D) V' = cov``, which may be singular."""
    d = len(cov.high)
    rest, least = cov.copy(), 1e4 * EPS * np.diagonal(cov.high)
    V, scales = Twofold(np.eye(d)), Twofold(np.zeros(d))
    for j in range(d - 1, -1, -1):
        if rest.high[j, j] <= least[j]:
            continue  # this entry follows from those after it
        scales[j] = rest[j, j]
        V[:j, j] = rest[:j, j] / rest[j, j]
        rest[:j, :j] = rest[:j, :j] - V[:j, j][:, None] * rest[:j, j][None, :]
    return V, scales
