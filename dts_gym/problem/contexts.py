"""Distributions of contexts and features."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import choice

FeatureLaw = Literal["cube", "ball", "sphere"]

# A sample of contexts has at most so many rows and numbers.
_MOST_ROWS, _MOST_NUMBERS, _LARGEST_CONTEXT = 512, 1 << 17, 1_000_000


def checked_feature_law(value: FeatureLaw) -> FeatureLaw:
    """Return ``value`` if it is the name of a distribution of features; else raise ValueError."""
    choice("feature_law", value, get_args(FeatureLaw))
    return value


def draw_features(law: FeatureLaw, shape: tuple[int, ...], rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Draw vectors along the last axis of (count, *shape), uniform on the cube [-1, 1]^d, in or on the unit ball.

    Norms on the sphere are 1 to the rounding of float32.
    """
    if law == "cube":
        return rng.uniform(-1.0, 1.0, (count, *shape)).astype(np.float32)
    directions, radii = np.empty((count, *shape)), np.empty((count, *shape[:-1], 1))
    for row in range(count):  # in turn, so that the draws are the same as one by one
        rng.standard_normal(out=directions[row])
        if law == "ball":
            rng.random(out=radii[row])
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    if law == "ball":
        directions *= radii ** (1 / shape[-1])
    return directions.astype(np.float32)


def sample_of_features(law: FeatureLaw, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Contexts (N, *shape) from a law, under a fixed seed; None where one has more than a million numbers.

    Examples
    --------
    >>> sample_of_features("cube", (5,)).shape, sample_of_features("cube", (100, 20)).shape
    ((512, 5), (65, 100, 20))
    """
    if np.prod(shape) > _LARGEST_CONTEXT:
        return None
    return draw_features(law, shape, stream(0, "context-sample"), sample_size(shape)).astype(np.float64)


def sample_of_rows(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Some of the contexts (M, d) that an environment shows, each as often as any, under a fixed seed."""
    picked = stream(0, "context-sample").integers(len(rows), size=sample_size(rows.shape[1:]))
    return rows[picked].astype(np.float64)


def sample_size(shape: tuple[int, ...]) -> int:
    """The number of contexts of a shape in a bounded sample: 512, fewer where they have more than 256 numbers."""
    return max(1, min(_MOST_ROWS, _MOST_NUMBERS // int(np.prod(shape))))
