"""Checks of users' input: arrays, covariances, numbers. Errors name the argument, its value and the expectation."""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from dts_gym.utils.arrays import Array, IntArray

# The largest rewards, contexts and past parameters: their squares over that of the smallest noise are numbers still.
LARGEST = 1e50
# The most links of a chain: ten times those of diffusion models.
DEEPEST = 10_000
# The most draws, particles or steps that a setting may ask for; what memory cannot hold is refused as that.
MOST = 1_000_000_000


def as_float64(name: str, value: Any) -> Array:
    """Return ``value`` as a float64 array, itself where it is one; ValueError unless it holds real numbers.

    Every public function reads its numbers here, in `number`, `integer` or `integers`. Python and NumPy numbers, lists,
    arrays, pandas columns and CPU tensors are accepted alike; masked values, complex numbers, text and booleans are
    refused.

    Examples
    --------
    >>> as_float64("mean", [1, 2])
    array([1., 2.])
    """
    if type(value) is np.ndarray and value.dtype.kind in "fiu":
        return value.astype(np.float64, copy=False)
    try:
        _refuse_others(value)
        array = np.asarray(value)
        if array.dtype.kind == "O":
            _refuse_others(array.ravel().tolist())
        elif array.dtype.kind not in "fiu":
            raise TypeError(f"of type {array.dtype}")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {value!r:.200}") from error


def _refuse_others(value: Any) -> None:
    """Raise TypeError for what NumPy would convert to numbers in silence, also within lists."""
    if isinstance(value, list | tuple):
        for one in value:
            if type(one) is not float and type(one) is not int:
                _refuse_others(one)
    elif isinstance(value, np.ma.MaskedArray):
        if np.ma.is_masked(value):
            raise TypeError("masked")
    elif isinstance(value, bool | np.bool_ | str | bytes | complex | np.complexfloating):
        raise TypeError(f"of type {type(value).__name__}")


def plain(value: Any) -> Any:
    """Return ``value`` as a Python number or boolean where it is one of NumPy, or an array or tensor without axes.

    Examples
    --------
    >>> plain(np.int64(3)), plain(np.array(0.5)), plain("map")
    (3, 0.5, 'map')
    """
    if isinstance(value, np.generic) or (getattr(value, "shape", None) == () and hasattr(value, "item")):
        return value if value is np.ma.masked or getattr(value, "requires_grad", False) else value.item()
    return value


def number(name: str, value: Any) -> float:
    """Return ``value`` as a finite float; else raise ValueError.

    Examples
    --------
    >>> number("reward", np.float32(0.5))
    0.5
    """
    known = value if type(value) is float else plain(value)
    if isinstance(known, numbers.Real) and not isinstance(known, bool):
        try:
            found = float(known)
        except OverflowError:  # an integer beyond the largest float
            found = math.inf
        if math.isfinite(found):
            return found
    raise ValueError(f"{name} must be a finite number, got {value!r:.200}")


def fraction(name: str, value: Any, *, ends: bool = False) -> float:
    """Return ``value`` as a float between 0 and 1, which are included if ``ends``; else raise ValueError."""
    try:
        found = number(name, value)
    except ValueError:
        found = math.nan
    if 0 < found < 1 or (ends and found in (0, 1)):
        return found
    raise ValueError(f"{name} must be a number {'in 0..1' if ends else 'between 0 and 1'}, got {value!r:.200}")


def boolean(name: str, value: Any) -> bool:
    """Return ``value``, True or False, of Python or NumPy; else raise ValueError."""
    known = plain(value)
    if isinstance(known, bool):
        return known
    raise ValueError(f"{name} must be True or False, got {value!r:.200}")


def finite_array(
    name: str, value: Any, shape: tuple[int | None, ...], largest: float = math.inf, *, copy: bool = True
) -> Array:
    """Return ``value`` as a float64 array of ``shape`` (None: any length), a fresh one if ``copy``; else ValueError.

    Numbers above ``largest`` in size are refused too.

    Examples
    --------
    >>> finite_array("mean", [1, 2], (2,))
    array([1., 2.])
    """
    array = as_float64(name, value)
    array = array.copy() if copy else array
    expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} must have shape {expected}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]} among its values")
    if largest < math.inf and np.abs(array).max(initial=0.0) > largest:
        raise ValueError(f"{name} must be at most {largest:g} in size, got {np.abs(array).max():g} among its values")
    return array


def covariance(name: str, value: Any, dim: int) -> Array:
    """Return ``value`` as a symmetric positive semi-definite (dim, dim) array; else raise ValueError.

    Asymmetry and negative eigenvalues up to 1e-10 of the largest entry are treated as rounding errors.
    """
    cov = finite_array(name, value, (dim, dim))
    tolerance = 1e-10 * max(float(np.abs(cov).max(initial=0.0)), 1e-300)
    if np.abs(cov - cov.T).max(initial=0.0) > tolerance:
        raise ValueError(f"{name} must be symmetric, got an asymmetry of {np.abs(cov - cov.T).max():.3g}")
    cov = (cov + cov.T) / 2
    smallest = float(np.linalg.eigvalsh(cov)[0])
    if smallest < -tolerance * dim:
        raise ValueError(f"{name} must be positive semi-definite, got the eigenvalue {smallest:.6g}")
    return cov


def covariances(name: str, value: Any, count: int, dim: int, largest: float = math.inf) -> Array:
    """Return ``value`` as one covariance (dim, dim), or as ``count`` of them, (count, dim, dim); else ValueError.

    Numbers above ``largest`` in size are refused too. Asymmetry and negative eigenvalues of one of many are rounding
    errors up to 1e-9 of its largest entry.
    """
    if np.ndim(value) == 2:
        return covariance(name, finite_array(name, value, (dim, dim), largest), dim)
    covs = finite_array(name, value, (count, dim, dim), largest)
    even = (covs + np.swapaxes(covs, -1, -2)) / 2
    lowest, size = np.linalg.eigvalsh(even)[:, 0], np.abs(covs).max(axis=(-2, -1))
    bad = np.flatnonzero(
        (lowest < -1e-9 * size) | (np.abs(covs - np.swapaxes(covs, -1, -2)).max(axis=(-2, -1)) > 1e-9 * size)
    )
    if bad.size:
        covariance(f"{name}[{bad[0]}]", covs[bad[0]], dim)
        raise ValueError(f"{name}[{bad[0]}] must be symmetric and positive semi-definite, got {covs[bad[0]]}")
    return even


def positive(name: str, value: Any, largest: float = math.inf) -> float:
    """Return ``value`` as a positive finite float, at most ``largest``; else raise ValueError."""
    try:
        found = number(name, value)
    except ValueError:
        found = math.nan
    if found > largest:
        raise ValueError(f"{name} must be at most {largest:g}, got {value!r:.200}")
    if found > 0:
        return found
    raise ValueError(f"{name} must be a positive finite number, got {value!r:.200}")


def nonnegative(name: str, value: Any, count: int | None, largest: float = math.inf) -> Array:
    """Return ``value`` as ``count`` (None: any) finite numbers in 0..``largest``, (count,); else raise ValueError."""
    array = finite_array(name, value, (count,), largest)
    if (array < 0).any():
        raise ValueError(f"{name} must not be negative, got {array[array < 0][0]} among its values")
    return array


def choice(name: str, value: Any, choices: Iterable[str], or_none: bool = False) -> Any:
    """Return ``value`` if it is one of the words ``choices``, or None with ``or_none``; else raise ValueError."""
    words = tuple(choices)
    if (isinstance(value, str) and value in words) or (or_none and value is None):
        return value
    raise ValueError(f"{name} must be one of {words}{' or None' if or_none else ''}, got {value!r:.200}")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest choice, whatever its case; empty if none is near.

    Examples
    --------
    >>> did_you_mean("dts", ["dTS", "LinTS"])
    '; did you mean dTS?'
    """
    import difflib

    lowered = {one.lower(): one for one in choices}
    close = difflib.get_close_matches(str(word).lower(), lowered, n=1)
    return f"; did you mean {lowered[close[0]]}?" if close else ""


def listed(name: str, value: Any, expected: str = "a list of arrays") -> list[Any]:
    """Return the items of ``value``; else raise ValueError.

    Accepts lists, tuples and ranges, and arrays, pandas columns and tensors with axes.
    """
    if isinstance(value, list | tuple | range) or bool(getattr(value, "ndim", 0)):
        return list(value)
    raise ValueError(f"{name} must be {expected}, got {value!r:.200}")


def integers(name: str, value: Any, count: int, high: int) -> IntArray:
    """Return ``value`` as ``count`` integers in ``0..high - 1``, (count,); else raise ValueError.

    Examples
    --------
    >>> integers("action", [2, 0], 2, 3)
    array([2, 0])
    """
    try:
        _refuse_others(value)
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name} must be {count} integers, got {value!r:.200}") from error
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {count} integers, got shape {array.shape} of {array.dtype}")
    if count and not (array.min() >= 0 and array.max() < high):
        bad = array[(array < 0) | (array >= high)][0]
        raise ValueError(f"{name} must be in 0..{high - 1}, got {bad}")
    return array.astype(np.int64)


def integer(name: str, value: Any, low: int, high: int | None = None, *, most: int | None = None) -> int:
    """Return ``value`` as an int in ``low..high`` (no upper end if None); else raise ValueError.

    Where there is no upper end, ``most`` may say what is too large to be meant.

    Accepts Python and NumPy integers, and arrays and CPU tensors of integers without axes, never booleans or floats.
    """
    known = plain(value)
    expected = f"an integer >= {low}" if high is None else f"an integer in {low}..{high}"
    if isinstance(known, bool) or not isinstance(known, int):
        raise ValueError(f"{name} must be {expected}, got {value!r:.200}")
    if known < low or (high is not None and known > high):
        raise ValueError(f"{name} must be {expected}, got {known!s:.200}")
    if most is not None and known > most:
        raise ValueError(f"{name} must be at most {most}, got {known!s:.200}")
    return known


def different_strings(name: str, value: Any, count: int, what: str = "all different") -> tuple[str, ...]:
    """Return ``value``, ``count`` different strings that are not empty, as a tuple; else raise ValueError.

    Examples
    --------
    >>> different_strings("titles", ["Alien (1979)", "Up (2009)"], 2)
    ('Alien (1979)', 'Up (2009)')
    """
    strings = () if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if len(strings) != count:
        got = f"{len(strings)} of them" if strings else f"{value!r:.200}"
        raise ValueError(f"{name} must be {count} strings, {what}, got {got}")
    wrong = [each for each in strings if not isinstance(each, str) or not each]
    if wrong:
        raise ValueError(f"{name} must be strings that are not empty, got {wrong[0]!r:.200}")
    if len(set(strings)) < count:
        twice = next(each for each, times in Counter(strings).items() if times > 1)
        raise ValueError(f"{name} must be different strings, got {twice!r:.200} twice")
    return tuple(map(str, strings))  # NumPy's strings too are plain ones then
