"""Files of agents: settings, problem, random streams and what was learned, without pickle."""

from __future__ import annotations

import copy
import inspect
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self, final

import numpy as np

from dts_gym.agents.checked_files import FORMAT, UNSEALED, check_state, class_of, signature_of
from dts_gym.problem.problem import BanditProblem, problem_from_state
from dts_gym.registry import agent_id_of
from dts_gym.utils.archives import read_archive, write_archive
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import restore, state_of, stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import integer

STREAMS = ("act", "predict-greedy", "predict-draw", "parameters", "posterior")  # an agent's random streams
_PARTS = ("problem", "setting", "state")  # of what an array of a file is, before the first dot of its name


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
    """Saving, loading, copying and printing, for what is made of a problem and settings, has streams and a state.

    It also owns the lock that lets several threads share an object. The lock is no part of the state: a copy and a
    loaded or unpickled object get a lock of their own.
    """

    problem: BanditProblem
    num_updates: int
    _plan: Plan
    _settings: dict[str, Any]
    _rngs: dict[str, np.random.Generator]
    _warned: frozenset[str]

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        with self._lock:
            twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin

    @final
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the agent, its problem and its random streams to one .npz without pickle, under exactly ``path``.

        The file has a digest of its content.
        """
        for name, value in self._settings.items():
            if callable(value):
                raise ValueError(f"{name} must be no function of an agent that is saved, got {value!r:.200}")
        problem_settings, problem_arrays = self.problem.state()
        plain = {name: value for name, value in self._settings.items() if not isinstance(value, np.ndarray)}
        arrays: dict[str, Array | IntArray] = {f"problem.{name}": array for name, array in problem_arrays.items()}
        arrays |= {f"setting.{name}": v for name, v in self._settings.items() if isinstance(v, np.ndarray)}
        settings = {
            "format": FORMAT,
            **signature_of(type(self)),
            "problem": problem_settings,
            "settings": plain,
        }
        with self._lock:
            arrays |= {f"state.{name}": array for name, array in self._state().items()}
            settings |= {
                "streams": {name: state_of(rng) for name, rng in self._rngs.items()},
                "num_updates": self.num_updates,
                "plan": list(self._plan),
                "choices": dict(self._kept_choices()),
            }
        write_archive(path, arrays, settings)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, seed: int | np.random.SeedSequence | None = None) -> Self:
        """Return the agent that `save` wrote; it continues bit for bit.

        ``dts_gym.agents.Agent.load`` accepts a file of any registered agent.

        Parameters
        ----------
        path : path of the file.
        seed : None goes on with the saved random streams, so that two agents loaded from one file draw alike; a seed
            starts new ones, as `reseed` does.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged or was edited, or holds another kind of agent.
        """
        arrays, saved = read_archive(path, tuple(f"{part}." for part in _PARTS), UNSEALED)
        try:
            kind = class_of(cls, saved)
        except ValueError as error:
            raise ValueError(f"path must be a file of {error} (in {os.fspath(path)!r})") from error
        parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        try:
            for name, array in arrays.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = array
            problem = problem_from_state(saved["problem"], parts["problem"])
            agent: Self = kind._rebuild(problem, {**saved["settings"], **parts["setting"]}, parts["state"])
            fresh = agent._state()
            agent._restore(parts["state"])
            check_state(agent, fresh, parts["state"])
            for name in STREAMS:
                restore(agent._rngs[name], saved["streams"][name])
            agent.num_updates = integer("num_updates", saved["num_updates"], 0)
            agent._plan = _checked_plan(saved.get("plan", [None, None]), agent.num_updates)  # older files have none
            agent._take_choices(saved.get("choices", {}))
        except Exception as error:  # what no agent wrote may fail anywhere
            reason = error if isinstance(error, ValueError) else repr(error)
            where = f"{kind.__name__}, got {os.fspath(path)!r}"
            raise ValueError(f"path must be a whole file of {where}: {' '.join(str(reason).split())}") from error
        if seed is not None:
            agent.reseed(seed)
        return agent

    def _drawn(self, name: str, draw: Callable[[np.random.Generator], IntArray]) -> IntArray:
        """What ``draw`` returns with the stream of this name, which a refusal leaves as it was."""
        rng = self._rngs[name]
        before = rng.bit_generator.state if self._is_careful() else None
        try:
            return draw(rng)
        except ValueError:
            rng.bit_generator.state = before or rng.bit_generator.state
            raise

    def _is_careful(self) -> bool:
        return False  # whether a choice can raise ValueError, because a posterior is too narrow

    @final
    def reseed(self, seed: int | np.random.SeedSequence | None = None) -> None:
        """Start all random streams from ``seed`` (None: fresh entropy), and keep what was learned.

        Processes that serve from copies of one agent each call this with a seed of their own: they then know the same,
        and draw differently.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinTS", BanditProblem(50, 2, random_linear_prior(2, 1), GaussianReward()), seed=0)
        >>> agent.update([0.5, 1.0], 3, 2.0)
        >>> agent.reseed(1)
        >>> agent.num_updates
        1
        """
        # One root for all streams: with None each stream would draw its own entropy, and none could be made again.
        root = seed if seed is not None else np.random.SeedSequence()
        rngs = {name: stream(root, name) for name in STREAMS}
        with self._lock:
            self._rngs = rngs
            self._drop_draws()

    @final
    def spawn(self, count: int) -> list[Self]:
        """Return ``count`` fresh agents with this one's settings, one for each instance of a vector environment.

        Their random streams are independent of each other and depend on the position of this agent's stream of `act`,
        which does not advance: a second call returns the same agents, and fewer agents are the first ones of more.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinTS", BanditProblem(50, 2, random_linear_prior(2, 1), GaussianReward()), seed=0)
        >>> [one.act([0.5, 1.0]) for one in agent.spawn(3)] == [one.act([0.5, 1.0]) for one in agent.spawn(3)]
        True
        """
        with self._lock:
            words = copy.deepcopy(self._rngs["act"]).integers(0, 1 << 32, (integer("count", count, 1), 4))
            agents = [self._fresh(index) for index in range(count)]
        for agent, row in zip(agents, words.tolist(), strict=True):
            agent.reset(np.random.SeedSequence(row))
            agent._warned = self._warned
        return agents

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

    def _fresh(self, index: int) -> Self:
        """An agent with this one's problem and settings, for instance ``index`` of those that `spawn` returns."""
        return self._rebuild(self.problem, self._settings, self._state())

    @abstractmethod
    def reset(self, seed: int | np.random.SeedSequence | None = None) -> None:
        """Forget everything learned and start all random streams from ``seed``."""

    def _kept_choices(self) -> Mapping[str, Any]:
        """Plain data of what the agent has chosen by itself."""
        return {}

    def _take_choices(self, saved: Mapping[str, Any]) -> None:
        """Restore what `_kept_choices` returned."""

    def _drop_draws(self) -> None:
        """Drop posterior draws that are kept for the next choices: they came from the streams of before."""

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
