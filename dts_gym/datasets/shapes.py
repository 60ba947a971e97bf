"""Shapes: distributions of parameter vectors that are not chains of Gaussians, by formula.

A shape is planar: a random point of a curve or an area, plus normal jitter. Coordinates from the third on, such as the
width of a Swiss roll, are independent of the plane and of each other. Where the literature has a name without its
formula, the formula here is our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from dts_gym.utils.arrays import Array
from dts_gym.utils.memory import refuse_larger
from dts_gym.utils.validation import choice, integer

Shape = Literal["swiss-roll", "moons", "rings", "mixture", "cross", "rays", "triangles", "swirl", "H", "corners"]


def sample_shape(name: Shape, rng: np.random.Generator, size: int, dim: int | None = None) -> Array:
    """Draw parameter vectors from a shape.

    Parameters
    ----------
    name : name of the shape; its parts have equal probability unless stated otherwise:

        - "swiss-roll": ``t (cos t, sin t)``, ``t`` uniform on [1.5 pi, 4.5 pi], jitter 0.3; in three dimensions it is
          the usual roll.
        - "moons": the upper half of the unit circle around (0, 0), the lower half of that around (1, 1/2).
        - "rings": circles of radius 1/2 and 1 around 0, of probability 1/3 and 2/3.
        - "mixture": five normal distributions of standard deviation 0.2 around the corners of a regular pentagon of
          radius 1, of probability 0.3, 0.25, 0.2, 0.15, 0.1.
        - "cross": the segments from (-1, 0) to (1, 0) and from (0, -1) to (0, 1).
        - "rays": five segments of length 1 from 0, at equal angles, the first upwards.
        - "triangles": three filled equilateral triangles of side 1, in the corners of one of side 2; no jitter.
        - "swirl": ``r (cos 3 pi r, sin 3 pi r)``, ``r^2`` uniform on [0, 1].
        - "H": the segments from (-1, -1) to (-1, 1), from (-1, 0) to (1, 0) and from (1, -1) to (1, 1).
        - "corners": four filled squares of side 1/2 around (+-1, +-1); no jitter.

        Jitter is normal of standard deviation 0.05 in both coordinates, unless stated otherwise.
    rng : source of the draws.
    size : N >= 0, the number of vectors.
    dim : d >= 2, their dimension; None: 3 for the Swiss roll, else 2.

    Returns
    -------
    (size, dim)
        The vectors, on one scale: every shape has mean zero, and its variances sum to d, as those of N(0, I) do. The
        plane, jitter included, is scaled as a whole, so that shapes keep their proportions. Coordinates from the third
        on are uniform of variance 1; for "mixture" they are normal, so that it is a normal mixture in any dimension.

    Raises
    ------
    ValueError
        If the name is unknown, or a size is out of range.

    Notes
    -----
    The last six are named as the problems in two dimensions of Kveton et al., "Online Posterior Sampling with a
    Diffusion Prior" (2024); the formulas are ours.

    Examples
    --------
    >>> sample_shape("cross", np.random.default_rng(0), 4).shape
    (4, 2)
    >>> sample_shape("swiss-roll", np.random.default_rng(0), 4).shape
    (4, 3)
    """
    d, N = shape_dim(name, dim), integer("size", size, 0)
    refuse_larger("size * dim", f"{N} x {d} numbers", 32 * N * d)
    plane, (center, std) = _PLANES[name], _scaling(name)
    drawn = np.empty((N, d))
    drawn[:, :2] = plane.point(*rng.random((2, N))) + plane.jitter * rng.standard_normal((N, 2))
    drawn[:, :2] = (drawn[:, :2] - center) / std
    rest = (N, d - 2)
    drawn[:, 2:] = rng.standard_normal(rest) if name == "mixture" else rng.uniform(-(3**0.5), 3**0.5, rest)
    return drawn


def shape_dim(name: Shape, dim: int | None = None) -> int:
    """Return ``dim``, which must be at least 2; None: the shape's own."""
    choice("shape", name, get_args(Shape))
    return (3 if name == "swiss-roll" else 2) if dim is None else integer("dim", dim, 2)


class _Plane(NamedTuple):
    """A planar distribution: ``point(u, v)`` of two uniforms on [0, 1), (n,) each -> (n, 2), plus normal jitter."""

    point: Callable[[Array, Array], Array]
    jitter: float = 0.05


@cache
def _scaling(name: Shape) -> tuple[Array, float]:
    """Mean (2,) and root mean variance of a plane, by the midpoint rule."""
    # 1200 is a multiple of every number of parts, and times every probability it is an integer.
    u, v = np.meshgrid((np.arange(1200) + 0.5) / 1200, (np.arange(60) + 0.5) / 60)
    points = _PLANES[name].point(u.ravel(), v.ravel())
    return points.mean(axis=0), float(np.sqrt(points.var(axis=0).mean() + _PLANES[name].jitter ** 2))


def _polar(radius: Array, angle: Array) -> Array:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _swiss_roll(u: Array, v: Array) -> Array:
    t = 1.5 * np.pi * (1.0 + 2.0 * u)
    return _polar(t, t)


def _moons(u: Array, v: Array) -> Array:
    side, t = np.divmod(2.0 * u, 1.0)
    upper = _polar(np.ones_like(t), np.pi * t)
    return np.where(side[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)


def _rings(u: Array, v: Array) -> Array:
    return _polar(np.where(u < 1 / 3, 0.5, 1.0), 2.0 * np.pi * v)


def _mixture(u: Array, v: Array) -> Array:
    corner = np.searchsorted([0.3, 0.55, 0.75, 0.9], u, side="right")
    return _polar(np.ones_like(u), np.pi / 2 + 2.0 * np.pi * corner / 5)


def _rays(u: Array, v: Array) -> Array:
    ray, t = np.divmod(5.0 * u, 1.0)
    return _polar(t, np.pi / 2 + 2.0 * np.pi * ray / 5)


def _triangles(u: Array, v: Array) -> Array:
    part, t = np.divmod(3.0 * u, 1.0)
    # A point of the unit parallelogram, folded into its lower triangle.
    over = t + v > 1
    t, v = np.where(over, 1 - t, t), np.where(over, 1 - v, v)
    sides = np.array([[1.0, 0.0], [0.5, 0.75**0.5]])
    origin = np.array([[0.0, 0.0], *sides])[part.astype(np.intp)]
    return np.asarray(origin + np.stack([t, v], axis=-1) @ sides)


def _swirl(u: Array, v: Array) -> Array:
    r = np.sqrt(u)
    return _polar(r, 3.0 * np.pi * r)


def _corners(u: Array, v: Array) -> Array:
    part, t = np.divmod(4.0 * u, 1.0)
    corner = np.stack([np.where(part % 2, 1.0, -1.0), np.where(part < 2, 1.0, -1.0)], axis=-1)
    return corner + (np.stack([t, v], axis=-1) - 0.5) / 2


def _segments(*ends: tuple[tuple[float, float], tuple[float, float]]) -> Callable[[Array, Array], Array]:
    """Straight segments of equal probability."""
    start, end = np.array(ends).swapaxes(0, 1)  # (parts, 2) each

    def point(u: Array, v: Array) -> Array:
        part, t = np.divmod(len(start) * u, 1.0)
        chosen = part.astype(np.intp)
        return np.asarray(start[chosen] + t[:, None] * (end - start)[chosen])

    return point


_PLANES: dict[Shape, _Plane] = {
    "swiss-roll": _Plane(_swiss_roll, 0.3),
    "moons": _Plane(_moons),
    "rings": _Plane(_rings),
    "mixture": _Plane(_mixture, 0.2),
    "cross": _Plane(_segments(((-1, 0), (1, 0)), ((0, -1), (0, 1)))),
    "rays": _Plane(_rays),
    "triangles": _Plane(_triangles, 0.0),
    "swirl": _Plane(_swirl),
    "H": _Plane(_segments(((-1, -1), (-1, 1)), ((-1, 0), (1, 0)), ((1, -1), (1, 1)))),
    "corners": _Plane(_corners, 0.0),
}
