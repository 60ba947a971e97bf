"""Checks of users' input: arrays, covariances, numbers. Errors name the argument, its value and the expectation."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from dts_gym.utils.arrays import Array, IntArray

# The largest rewards, contexts and past parameters: their squares over that of the smallest noise are numbers still.
LARGEST = 1e50


def as_float64(name: str, value: Any) -> Array:
    """Return ``value`` as a float64 array, itself where it is one; ValueError unless it holds real numbers.

    Examples
    --------
    >>> as_float64("mean", [1, 2])
    array([1., 2.])
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiubO":  # complex numbers and text would be converted, or cut
            raise TypeError(f"of type {array.dtype}")
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {value!r:.200}") from error


def finite_array(name: str, value: Any, shape: tuple[int | None, ...], largest: float = math.inf) -> Array:
    """Return ``value`` as a fresh float64 array of ``shape`` (None: any length); else raise ValueError.

    Numbers above ``largest`` in size are refused too.

    Examples
    --------
    >>> finite_array("mean", [1, 2], (2,))
    array([1., 2.])
    """
    array = as_float64(name, value).copy()
    expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} must have shape {expected}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]} among its values")
    if np.abs(array).max(initial=0.0) > largest:
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


def positive(name: str, value: Any) -> float:
    """Return ``value`` as a positive finite float; else raise ValueError."""
    if isinstance(value, numbers.Real | np.generic) and not isinstance(value, bool | np.bool_):
        number = float(value)
        if math.isfinite(number) and number > 0:
            return number
    raise ValueError(f"{name} must be a positive finite number, got {value!r}")


def nonnegative(name: str, value: Any, count: int | None) -> Array:
    """Return ``value`` as ``count`` (None: any number of) finite numbers >= 0, (count,); else raise ValueError."""
    array = finite_array(name, value, (count,))
    if (array < 0).any():
        raise ValueError(f"{name} must not be negative, got {array[array < 0][0]} among its values")
    return array


def integers(name: str, value: Any, count: int, high: int) -> IntArray:
    """Return ``value`` as ``count`` integers in ``0..high - 1``, (count,); else raise ValueError.

    Examples
    --------
    >>> integers("action", [2, 0], 2, 3)
    array([2, 0])
    """
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be {count} integers, got {value!r:.200}") from error
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be {count} integers, got shape {array.shape} of {array.dtype}")
    if count and not (array.min() >= 0 and array.max() < high):
        bad = array[(array < 0) | (array >= high)][0]
        raise ValueError(f"{name} must be in 0..{high - 1}, got {bad}")
    return array.astype(np.int64)


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as an int in ``low..high`` (no upper end if None); else raise ValueError.

    Accepts Python and NumPy integers and 0-d integer arrays, never bools or floats.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    expected = f"an integer >= {low}" if high is None else f"an integer in {low}..{high}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {expected}, got {number}")
    return number
