"""What infos report: masks of actions, as ``info["action_mask"]`` of a reset or a step, and numbers of a step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dts_gym.utils.arrays import Array


def play(agent: Any, context: Any, mask: Any) -> Any:
    """The agent's action for a context, or actions for contexts, among those that ``mask`` allows; None allows all.

    Raises
    ------
    ValueError
        If there is a mask and the agent's `act` accepts none.
    """
    if mask is None:
        return agent.act(context)
    if not _accepts_mask(getattr(agent.act, "__func__", agent.act)):
        raise ValueError(
            f"agent must accept a mask in act, because env reports info['action_mask'], got {agent!r:.200}"
        )
    return agent.act(context, mask=mask)


@lru_cache(maxsize=64)
def _accepts_mask(act: Callable[..., Any]) -> bool:
    return "mask" in inspect.signature(act).parameters


def masks_of(info: Mapping[str, Any], num_envs: int) -> Any:
    """The masks (N, K) in the info of a vector environment; None where no sub-environment reports one."""
    if "action_mask" not in info:
        return None
    masks, told = np.asarray(info["action_mask"]), np.asarray(info.get("_action_mask", np.ones(num_envs, bool)))
    return filled([mask if has else None for mask, has in zip(masks, told, strict=True)])


def masks_of_each(infos: Sequence[Mapping[str, Any]]) -> Any:
    """The masks (N, K) in a list of infos, as SB3's vector environments return them; None where none reports one."""
    return filled([info.get("action_mask") for info in infos])


def filled(masks: Sequence[Any]) -> Any:
    """The masks as one array; a row that allows all stands where there is none."""
    known = [np.asarray(mask) for mask in masks if mask is not None]
    if not known:
        return None
    return np.array([np.ones_like(known[0]) if mask is None else mask for mask in masks])


def of_step(info: dict[str, Any], name: str, num_envs: int) -> Array:
    """(N,) numbers that a step reports under a name, NaN where it does not.

    Where the step ended an episode that was reset at once, they are in ``final_info``.
    """
    values = np.full(num_envs, np.nan)
    for part in (info, info.get("final_info", {})):
        if name in part:
            values = np.where(part[f"_{name}"], part[name], values)
    return values
