"""Arrays of twice float64's precision: each number is the unevaluated sum of two float64 numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from dts_gym.utils.arrays import Array

EPS = 2.0**-104  # no operation's relative rounding error is larger
_SPLIT = 134217729.0  # 2^27 + 1 parts a float64 number into two halves whose products are exact


class Twofold:
    """An array of numbers ``high + low``, with some 32 significant digits and float64's range.

    Parameters
    ----------
    high : the numbers, rounded to float64.
    low : what rounding took, at most half a unit in the last place of ``high``; None for zeros.

    Notes
    -----
    Operators broadcast as NumPy's do, and accept float64 arrays beside twofold ones. A sum or a product costs some 20
    array operations.

    Source: Dekker, "A floating-point technique for extending the available precision" (1971); Joldes, Muller and
    Popescu, "Tight and rigorous error bounds for basic building blocks of double-word arithmetic" (2017).

    Examples
    --------
    >>> third = Twofold(np.ones(1)) / 3.0
    >>> (third * 3.0 - 1.0).high, (third - 1 / 3).high.round(20)
    (array([0.]), array([1.85e-17]))
    """

    __slots__ = ("high", "low")
    __array_ufunc__ = None  # NumPy arrays leave operators to this class

    def __init__(self, high: Any, low: Any = None) -> None:
        self.high: Array = np.asarray(high, dtype=np.float64)
        self.low: Array = np.zeros_like(self.high) if low is None else np.asarray(low, dtype=np.float64)

    @classmethod
    def of(cls, value: Any) -> Twofold:
        """``value`` itself if it is twofold, else float64 numbers as twofold ones."""
        return value if isinstance(value, Twofold) else cls(value)

    def __getitem__(self, key: Any) -> Twofold:
        return _pair(self.high[key], self.low[key])

    def __setitem__(self, key: Any, value: Twofold) -> None:
        self.high[key], self.low[key] = value.high, value.low

    def __len__(self) -> int:
        return len(self.high)

    def __neg__(self) -> Twofold:
        return _pair(-self.high, -self.low)

    def __add__(self, other: Any) -> Twofold:
        other = Twofold.of(other)
        high, off = _two_sum(self.high, other.high)
        low, rest = _two_sum(self.low, other.low)
        high, off = _quick_sum(high, off + low)
        return _pair(*_quick_sum(high, off + rest))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Twofold:
        return self + -Twofold.of(other)

    def __rsub__(self, other: Any) -> Twofold:
        return Twofold.of(other) + -self

    def __mul__(self, other: Any) -> Twofold:
        if not isinstance(other, Twofold):
            high, off = _two_product(self.high, np.asarray(other))
            return _pair(*_quick_sum(high, off + self.low * other))
        high, off = _two_product(self.high, other.high)
        return _pair(*_quick_sum(high, off + (self.high * other.low + self.low * other.high)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Twofold:
        other = Twofold.of(other)
        first = self.high / other.high
        rest = self - other * first
        second = rest.high / other.high
        rest = rest - other * second
        return _pair(*_quick_sum(first, second)) + Twofold(rest.high / other.high)

    def sum(self, axis: int = -1) -> Twofold:
        """Sums along an axis, pairwise."""
        part = _pair(np.moveaxis(self.high, axis, 0), np.moveaxis(self.low, axis, 0))
        while (n := len(part.high)) > 1:
            half = n // 2
            folded = part[:half] + part[half : 2 * half]
            if n % 2:
                folded = _pair(
                    np.concatenate([folded.high, part.high[-1:]]), np.concatenate([folded.low, part.low[-1:]])
                )
            part = folded
        if not len(part.high):
            return Twofold(np.zeros(part.high.shape[1:]))
        return part[0]

    def cumsum(self) -> Twofold:
        """Sums of the first one, two, ... numbers along the last axis."""
        total = Twofold(self.high.copy(), self.low.copy())
        n, step = self.high.shape[-1], 1
        while step < n:
            total[..., step:] = total[..., step:] + total[..., :-step]
            step *= 2
        return total

    def copy(self) -> Twofold:
        """A copy that shares no memory."""
        return Twofold(self.high.copy(), self.low.copy())


def product(first: Any, second: Any) -> Twofold:
    """The matrix product of (n, k) and (k, m), row by row of the first."""
    left, right = Twofold.of(first), Twofold.of(second)
    rows = [(right * left[i][:, None]).sum(0) for i in range(len(left))]
    return Twofold(np.stack([row.high for row in rows]), np.stack([row.low for row in rows]))


def _pair(high: Array, low: Array) -> Twofold:
    """As `Twofold`, for what is float64 already."""
    pair = Twofold.__new__(Twofold)
    pair.high, pair.low = high, low
    return pair


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _quick_sum(a: Array, b: Array) -> tuple[Array, Array]:
    total = a + b
    return total, b - (total - a)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    result = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return result, ((a_high * b_high - result) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Array) -> tuple[Array, Array]:
    scaled = _SPLIT * a
    high = scaled - (scaled - a)
    return high, a - high
