"""Random streams: every generator comes from one seed and a purpose, so that no two parts share a stream.

An agent and an environment made with the same seed must not draw the same numbers: a Thompson draw
that repeats the draw of the truth would not explore. Gymnasium seeds an environment with
``SeedSequence(seed)``; everything here derives from children of it, with one key for each purpose.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dts_gym.utils.validation import integer

# Fixed for ever: changing a key changes every published number.
_KEYS = {
    "act": 11,
    "predict-greedy": 12,
    "predict-draw": 13,
    "past-parameters": 14,
    "agent": 15,
    "parameters": 16,
    "posterior": 17,
    "pretraining": 18,
    "report": 19,
    "branch": 20,
    "prior": 21,
    "instance": 22,
    "contexts": 23,
    "noise": 24,
    "split": 25,
    "factors": 26,
    "subsets": 27,
    "misspecification": 28,
    "context-sample": 29,
    "simulation": 30,
    "history": 31,
    "check": 41,
    "record": 51,
}


def seed_sequence(seed: int | np.random.SeedSequence | None, purpose: str) -> np.random.SeedSequence:
    """The seed sequence of one purpose under ``seed``; None uses fresh entropy from the system."""
    if isinstance(seed, np.random.SeedSequence):
        root = seed
    else:
        root = np.random.SeedSequence(None if seed is None else integer("seed", seed, 0))
    key: tuple[int, ...] = (*root.spawn_key, _KEYS[purpose])
    return np.random.SeedSequence(root.entropy, spawn_key=key)


def stream(seed: int | np.random.SeedSequence | None, purpose: str) -> np.random.Generator:
    """A separate generator for one purpose under ``seed``.

    Examples
    --------
    >>> bool(stream(0, "act").random() == stream(0, "act").random())
    True
    >>> bool(stream(0, "act").random() == stream(0, "noise").random())
    False
    """
    return np.random.default_rng(seed_sequence(seed, purpose))


def state_of(rng: np.random.Generator) -> dict[str, Any]:
    """The generator's state as plain data (JSON can hold it)."""
    return dict(rng.bit_generator.state)


def restore(rng: np.random.Generator, state: dict[str, Any]) -> None:
    """Restore a state that `state_of` returned."""
    rng.bit_generator.state = state


Seed = int | np.random.SeedSequence | None
