"""What a user registered, carried to worker processes, which do not know the entries of a script or notebook."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from dts_gym.registry import agent_class, is_built_in, own_entry, place_of, register_agent

if TYPE_CHECKING:
    from dts_gym.agents.base import Agent


class Entries(NamedTuple):
    """Registry entries that another process may lack: an environment's spec, agents' entry points by id."""

    env: EnvSpec | None
    agents: dict[str, str | type[Agent]]


def user_entries(env_id: str, agent_ids: Iterable[str]) -> Entries:
    """A user's own entries, for `take_entries` in a worker process.

    Ids with a module, ``"module:Id"``, are omitted: importing the module registers them.
    """
    spec = None if ":" in env_id or is_built_in(env_id) else gym.spec(env_id)
    if spec is not None and isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
        spec = replace(spec, entry_point=cast("Any", load_env_creator(spec.entry_point)))
    own = {name: entry for name in agent_ids if (entry := own_entry(name)) is not None}
    here = {name: agent_class(name) for name, entry in own.items() if place_of(entry).startswith("__main__:")}
    return Entries(spec, {**own, **here})


def take_entries(entries: Entries) -> None:
    """Register the entries that `user_entries` returned."""
    gym.registry.update({} if entries.env is None else {entries.env.id: entries.env})
    for agent_id, entry_point in entries.agents.items():
        register_agent(agent_id, entry_point)
