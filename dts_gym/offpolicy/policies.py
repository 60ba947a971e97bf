"""Policies as evaluation sees them: probabilities of all actions, asked in blocks of rounds."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dts_gym.offpolicy.log import SUMS_TO_ONE, BanditLog, block_slices
from dts_gym.utils.arrays import Array, BoolArray
from dts_gym.utils.validation import as_float64, finite_array


@runtime_checkable
class Policy(Protocol):
    """What `evaluate` accepts: every agent, every policy that `learn` returns, and a class of your own."""

    def action_probabilities(self, contexts: Any) -> Any:
        """Probabilities of the actions in n contexts, (n, K); with an argument ``mask``, among those that it allows."""


def checked_policy(policy: Any, log: BanditLog) -> Any:
    """Return ``policy``, or the array (n, K) of its probabilities; ValueError if it is neither."""
    if hasattr(policy, "action_probabilities"):
        told = getattr(policy, "problem", None)
        K, shape = log.num_actions, log.contexts.shape[1:]
        if told is not None and (told.num_actions, told.context_shape) != (K, shape):
            raise ValueError(
                f"policy must be for the log's {K} actions and contexts {shape}, got one for {told.num_actions} "
                f"actions and contexts {told.context_shape}"
            )
        return policy
    if isinstance(policy, str) or callable(policy):
        raise ValueError(f"policy must have action_probabilities(contexts), or be an array (n, K), got {policy!r:.200}")
    array = as_float64("policy", policy)
    if array.ndim == 1:
        array = np.broadcast_to(finite_array("policy", array, (log.num_actions,)), (len(log), log.num_actions))
    return _checked(array, slice(0, len(log)), log)


def probability_blocks(policy: Any, log: BanditLog) -> Iterator[tuple[slice, Array]]:
    """Blocks of rounds, each with the probabilities of all actions, (b, K); ``policy`` is a checked one.

    Raises
    ------
    ValueError
        If the policy returns no probabilities, or plays what a mask forbids.
    """
    for block in block_slices(len(log), log.num_actions * (log.dim if log.features == "shared" else 1)):
        masks = None if log.masks is None else log.masks[block]
        if isinstance(policy, np.ndarray):
            yield block, policy[block]
        else:
            yield block, _checked(ask(policy, log.contexts[block], masks), block, log)


def ask(policy: Any, contexts: Array, masks: BoolArray | None) -> Any:
    """A policy's probabilities, with the masks where it accepts them."""
    if masks is not None and "mask" in inspect.signature(policy.action_probabilities).parameters:
        return policy.action_probabilities(contexts, mask=masks)
    return policy.action_probabilities(contexts)


def _checked(value: Any, block: slice, log: BanditLog) -> Array:
    shape = block.stop - block.start, log.num_actions
    return checked_probabilities("policy", value, shape, None if log.masks is None else log.masks[block], block.start)


def checked_probabilities(name: str, value: Any, shape: tuple[int, ...], masks: BoolArray | None, first: int) -> Array:
    """Return what a policy gave for a round or more, as float64 of ``shape``, (K,) or (n, K).

    Parameters
    ----------
    name : who gave it, for the message.
    value : the probabilities of all actions.
    shape : what is expected.
    masks : booleans of that shape, the actions that may be played; None: all of them.
    first : number of the first round.

    Raises
    ------
    ValueError
        If the shape is another, a number is no probability, those of a round do not sum to 1 to 1e-6, or an action is
        played that a mask forbids; the message names the round and the action.
    """
    p = as_float64(name, value)
    if p.shape != shape:
        raise ValueError(f"{name} must return probabilities of shape {shape}, got shape {p.shape} in round {first}")
    rows = p.reshape(-1, shape[-1])
    bad = np.argwhere(~((rows >= 0) & (rows <= 1 + SUMS_TO_ONE)))
    if bad.size:
        i, action = bad[0].tolist()
        raise ValueError(
            f"{name} must return probabilities in 0..1, got {rows[i, action]:.9g} for action {action} in round "
            f"{first + i}"
        )
    off = np.abs(rows.sum(axis=1) - 1.0)
    if off.max(initial=0.0) > SUMS_TO_ONE:
        i = int(off.argmax())
        raise ValueError(
            f"{name} must return probabilities that sum to 1, got the sum {rows[i].sum():.9g} in round {first + i}"
        )
    if masks is not None:
        forbidden = np.where(masks.reshape(rows.shape), 0.0, rows)
        if forbidden.sum(axis=1).max(initial=0.0) > SUMS_TO_ONE:
            i, action = np.unravel_index(int(forbidden.argmax()), forbidden.shape)
            raise ValueError(
                f"{name} must not play what masks forbid, got probability {forbidden[i, action]:.3g} for action "
                f"{action} in round {first + int(i)}"
            )
    return p


def greedy_probabilities(scores: Array, mask: Any = None) -> Array:
    """Probability 1 on the largest score of each row (n, K), of tied ones the first, among those a mask allows."""
    if mask is not None:
        scores = np.where(np.asarray(mask, dtype=bool), scores, -np.inf)
    out = np.zeros(scores.shape)
    out[np.arange(len(scores)), scores.argmax(axis=1)] = 1.0
    return out
