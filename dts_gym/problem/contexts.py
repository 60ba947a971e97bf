"""Distributions of contexts and features."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dts_gym.utils.validation import choice

FeatureLaw = Literal["cube", "ball", "sphere"]


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
