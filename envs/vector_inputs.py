"""Checks of what a vector environment receives: its mode, seeds, and the mask of a reset."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from dts_gym.utils.arrays import BoolArray
from dts_gym.utils.validation import choice, integer, listed, plain


def checked_mode(value: Any) -> AutoresetMode:
    """Return Gymnasium's autoreset mode of that name or value; else raise ValueError."""
    if isinstance(value, AutoresetMode):
        return value
    return AutoresetMode(choice("autoreset_mode", value, [mode.value for mode in AutoresetMode]))


def checked_seeds(seed: Any, num_envs: int) -> list[int | None]:
    """Return a seed or None for each of N instances, for a seed s: s, s + 1, ...; else raise ValueError."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed := plain(seed), int):
        first = integer("seed", seed, 0)
        return [first + i for i in range(num_envs)]
    expected = f"an integer, None or {num_envs} of these"
    if len(seeds := listed("seed", seed, expected)) != num_envs:
        raise ValueError(f"seed must be {expected}, got {seed!r:.200}")
    return [None if one is None else integer("seed", one, 0) for one in seeds]


def checked_reset_mask(value: Any, num_envs: int) -> BoolArray:
    """Return the mask of the instances to reset, (N,) booleans, one or more True; else raise ValueError."""
    mask = np.asarray(value)
    if mask.shape != (num_envs,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"options['reset_mask'] must be {num_envs} booleans, one or more of them True, got {value!r:.200}"
        )
    return mask
