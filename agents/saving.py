"""Files of agents: settings, problem, random streams and what was learned, without pickle."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, final

import numpy as np

from dts_gym.problem.problem import BanditProblem, problem_from_state
from dts_gym.registry import agent_class, agent_id_of, agent_ids
from dts_gym.utils.archives import read_archive, write_archive
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import restore, state_of
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import integer

STREAMS = ("act", "predict-greedy", "predict-draw", "parameters", "posterior")  # an agent's random streams
_FORMAT = 1


class Plan(NamedTuple):
    """When an agent's plan of exploration began, and how many rewards it is for.

    Attributes
    ----------
    start : the number of rewards learned before the plan; None before the first choice.
    num_rewards : the number of rewards that the run will bring; None where no run has set it.
    """

    start: int | None = None
    num_rewards: int | None = None


class Saved(Shown, ABC):
    """Saving, loading and printing, for what is made of a problem and settings, has streams and a state of arrays."""

    problem: BanditProblem
    num_updates: int
    _plan: Plan
    _settings: dict[str, Any]
    _rngs: dict[str, np.random.Generator]

    @final
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the agent, its problem and its random streams to one .npz without pickle, under exactly ``path``."""
        for name, value in self._settings.items():
            if callable(value):
                raise ValueError(f"{name} must be no function of an agent that is saved, got {value!r:.200}")
        problem_settings, problem_arrays = self.problem.state()
        plain = {name: value for name, value in self._settings.items() if not isinstance(value, np.ndarray)}
        arrays: dict[str, Array | IntArray] = {f"problem.{name}": array for name, array in problem_arrays.items()}
        arrays |= {f"setting.{name}": v for name, v in self._settings.items() if isinstance(v, np.ndarray)}
        arrays |= {f"state.{name}": array for name, array in self._state().items()}
        settings = {
            "format": _FORMAT,
            "agent": type(self).__name__,
            "problem": problem_settings,
            "settings": plain,
            "streams": {name: state_of(rng) for name, rng in self._rngs.items()},
            "num_updates": self.num_updates,
            "plan": list(self._plan),
        }
        write_archive(path, arrays, settings)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the agent that `save` wrote; it continues bit for bit.

        ``dts_gym.agents.Agent.load`` accepts a file of any registered agent.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, or holds another kind of agent.
        """
        arrays, saved = read_archive(path)
        kind = cls
        if inspect.isabstract(cls):
            for found in map(agent_class, agent_ids()):
                if found.__name__ == saved.get("agent") and issubclass(found, cls):
                    kind = found
        if saved.get("agent") != kind.__name__ or saved.get("format") != _FORMAT:
            raise ValueError(
                f"path must be a file of {kind.__name__} in format {_FORMAT}, got {os.fspath(path)!r} of "
                f"{saved.get('agent')!r} in format {saved.get('format')!r}"
            )
        parts: dict[str, dict[str, Any]] = {"problem": {}, "setting": {}, "state": {}}
        try:
            for name, array in arrays.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = array
            problem = problem_from_state(saved["problem"], parts["problem"])
            agent = kind._rebuild(problem, {**saved["settings"], **parts["setting"]}, parts["state"])
            agent._restore(parts["state"])
            for name in STREAMS:
                restore(agent._rngs[name], saved["streams"][name])
            agent.num_updates = integer("num_updates", saved["num_updates"], 0)
            agent._plan = _checked_plan(saved.get("plan", [None, None]), agent.num_updates)  # older files have none
        except (KeyError, TypeError, IndexError, ValueError) as error:
            name = kind.__name__
            raise ValueError(f"path must be a whole file of {name}, got {os.fspath(path)!r}: {error}") from error
        return agent

    def _repr_name(self) -> str:
        return agent_id_of(type(self))

    def _repr_facts(self) -> Mapping[str, Any]:
        """The settings that are not the class's defaults, the problem's sizes, and how much was learned."""
        parameters = inspect.signature(type(self)).parameters
        settings = {
            name: value
            for name, value in self._settings.items()
            if isinstance(value, np.ndarray) or name not in parameters or value != parameters[name].default
        }
        sizes = {"num_actions": self.problem.num_actions, "dim": self.problem.dim}
        return {**settings, **sizes, "num_updates": self.num_updates}

    @classmethod
    @abstractmethod
    def _rebuild(cls, problem: BanditProblem, settings: Mapping[str, Any], state: Mapping[str, Any]) -> Self:
        """A fresh agent with the saved settings; ``state`` is read where the settings do not hold everything."""

    @abstractmethod
    def _state(self) -> Mapping[str, Array | IntArray]:
        """Arrays from which `_restore` continues bit for bit."""

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `_state` returned."""


def _checked_plan(saved: Any, num_updates: int) -> Plan:
    start, num_rewards = saved
    return Plan(
        None if start is None else integer("plan start", start, 0, num_updates),
        None if num_rewards is None else integer("plan length", num_rewards, 1),
    )
