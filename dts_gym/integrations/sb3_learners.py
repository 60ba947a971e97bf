"""PPO, DQN and A2C of stable-baselines3 as agents that learn while they play: ``compare(..., ["dTS", "PPO"])``.

A model of stable-baselines3 asks its environment for steps, an agent is asked for actions. So each model learns in a
thread of its own, in an environment whose steps wait for the run's: the two take turns, and one of them always waits.
What the model is asked and answers is what ``model.learn`` alone would be asked and answer, number for number.
"""

from __future__ import annotations

import inspect
import random
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Self

import gymnasium as gym
import numpy as np

from dts_gym.utils.extras import OPTIONAL_AGENTS, missing_extra

try:
    import stable_baselines3
    import torch
except ImportError as error:
    raise missing_extra("PPO, DQN and A2C by name", "stable-baselines3", "sb3", error) from error
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import Seed, seed_sequence
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import finite_array, integer, integers, number

_STOP = object()  # ends the thread of a model
# Arguments of a model that are no settings of its agent.
_OTHERS = {"self", "policy", "env", "seed", "_init_setup_model", "tensorboard_log", "verbose", "stats_window_size"}


_TURN = threading.Lock()  # one model at a time has the process's generators


class _Generators:
    """One model's states of the generators that Python, NumPy and PyTorch hold for the whole process."""

    def __init__(self) -> None:
        self._own: Any = None  # not drawn from yet

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let the model draw from where it left off, with one thread of PyTorch; all is put back afterwards."""
        with _TURN:
            before, threads = self._states(), torch.get_num_threads()
            self._restore(before if self._own is None else self._own)
            torch.set_num_threads(1)  # networks this small are slower on many
            try:
                yield
            finally:
                self._own = self._states()
                self._restore(before)
                torch.set_num_threads(threads)

    @staticmethod
    def _states() -> Any:
        return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - the model's own

    @staticmethod
    def _restore(states: Any) -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


class _Stopped(BaseException):
    """The run has ended: raised in the model's thread, through its ``learn``."""


class _Turns(gym.Env[Any, Any]):
    """The environment that the model steps: its answers come from `OnlineModel.act` and `OnlineModel.update`."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.told: SimpleQueue[Any] = SimpleQueue()  # contexts and rewards in turn
        self.answers: SimpleQueue[Any] = SimpleQueue()  # actions, or the error that ended the model

    def _next(self) -> Any:
        told = self.told.get()
        if told is _STOP:
            raise _Stopped
        return told

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The run's next context."""
        super().reset(seed=seed)
        return self._next(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Answer with the action, wait for its reward and the next context; an episode never ends."""
        self.answers.put(int(action))
        reward = self._next()
        return self._next(), reward, False, False, {}


class OnlineModel(Shown):
    """A model of stable-baselines3 as an agent that learns while it plays.

    Its ids are "PPO", "DQN" and "A2C", where the extra ``sb3`` is installed. Regret then counts every interaction, as
    for every other agent; a policy that was trained before is `dts_gym.integrations.sb3.SB3Policy`.

    Parameters
    ----------
    env : the environment, whose spaces the model is made for.
    seed : seed for the model.
    settings : arguments of the model's class. Where they are not given they are those of stable-baselines3, except
        ``gamma=0``, because contexts do not depend on actions, and for PPO rollouts of 250 rounds in batches of 50, as
        a run of 5000 rounds holds only two rollouts of 2048. Records hold all of these.

    Raises
    ------
    ValueError
        If the environment has no spaces that a model accepts, or a setting does not fit.

    Notes
    -----
    A context must be answered by `update` before the next `act`, with the action that was picked: the model learns from
    its own choices, one at a time. The length of exploration (DQN) and of schedules is that of the run. A model draws
    from the generators that Python, NumPy and PyTorch hold for the whole process; these are put back after each of its
    turns, so that neither other models nor a user's own draws change. It can be neither saved nor copied.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=4)
    >>> agent = dts_gym.make_agent("A2C", env, seed=0)
    >>> dts_gym.run(env, agent, 50, seed=1).regret.shape, agent.num_updates
    ((50,), 50)
    """

    algorithm = ""
    observation_space: Any
    action_space: Any
    _stop: Any
    _thread: threading.Thread | None

    def __init_subclass__(cls) -> None:
        usual = OPTIONAL_AGENTS[cls.algorithm][1]
        own = inspect.signature(getattr(stable_baselines3, cls.algorithm).__init__).parameters.values()
        settings = [each.replace(kind=each.KEYWORD_ONLY, default=usual.get(each.name, each.default), annotation=Any)
                    for each in own if each.name not in _OTHERS]  # fmt: skip
        first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("env", "seed")]
        cls.__signature__ = inspect.Signature([first[0], first[1].replace(default=None), *settings])  # type: ignore[attr-defined]

    def __init__(self, env: Any, seed: Seed = None, **settings: Any) -> None:
        self._env, self._settings = env, {**OPTIONAL_AGENTS[self.algorithm][1], **settings}
        self.observation_space = getattr(env, "single_observation_space", getattr(env, "observation_space", None))
        self.action_space = getattr(env, "single_action_space", getattr(env, "action_space", None))
        if not isinstance(self.action_space, gym.spaces.Discrete):
            raise ValueError(f"env must be an environment with Discrete actions for {self.algorithm}, got {env!r:.200}")
        self._planned: int | None = None
        self.reset(seed)

    @classmethod
    def from_env(cls, env: Any, *, seed: Seed = None, **settings: Any) -> Self:
        """Make the agent for an environment."""
        return cls(env, seed, **settings)

    def _repr_facts(self) -> dict[str, Any]:
        return {**self._settings, "num_updates": self.num_updates}

    def reset(self, seed: Seed = None) -> None:
        """Forget everything, and begin again with another seed."""
        self._seeds = seed_sequence(seed, "agent")
        start = int(self._seeds.generate_state(1)[0])
        turns = _Turns(self.observation_space, self.action_space)
        make, generators = getattr(stable_baselines3, self.algorithm), _Generators()
        try:
            with generators.held():
                model = make("MlpPolicy", turns, seed=start, **{"device": "cpu", **self._settings})
        except (TypeError, ValueError, AssertionError) as error:
            raise ValueError(f"settings of {self.algorithm} must be those that it accepts: {error}") from error
        if hasattr(self, "_stop"):
            self._stop()
        self._turns, self._model, self._generators, self._thread = turns, model, generators, None
        self._stop = weakref.finalize(self, turns.told.put, _STOP)
        self._waiting: tuple[Array, int] | None = None  # the context and action whose reward is due
        self.num_updates = 0

    def begin_run(self, num_rewards: int) -> None:
        """Plan the model's schedules for a run of so many rewards; `dts_gym.run` calls this before its first round."""
        self._planned = integer("num_rewards", num_rewards, 1)

    def act(self, context: Any) -> int:
        """The model's action for one context."""
        if self._waiting is not None:
            raise ValueError(
                "update must follow act, with the reward of the action that was picked, before another act"
            )
        space = self.observation_space
        x = finite_array("context", context, space.shape).astype(space.dtype)
        if self._thread is None:
            planned = self._planned or 5000
            self._thread = threading.Thread(target=_learn, args=(self._model, self._turns, planned), daemon=True)
            self._thread.start()
        with self._generators.held():
            self._turns.told.put(x)
            answer = self._turns.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        self._waiting = x, answer
        return int(answer)

    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Tell the model the reward of the action that it picked last."""
        space = self.observation_space
        x = finite_array("context", context, space.shape).astype(space.dtype)
        (played,) = integers("action", np.atleast_1d(action), 1, int(self.action_space.n))
        paid = number("reward", reward)
        if self._waiting is None or self._waiting[1] != played or not np.array_equal(self._waiting[0], x):
            raise ValueError(
                f"action must be the one that {self.algorithm} picked last on that context, got {action!r:.200}: it "
                "learns from its own choices only"
            )
        self._waiting = None
        self.num_updates += 1
        self._turns.told.put(paid)

    def spawn(self, count: int) -> list[Self]:
        """Return ``count`` fresh agents with these settings and seeds of their own."""
        seeds = self._seeds.spawn(integer("count", count, 1))
        return [type(self)(self._env, seed, **self._settings) for seed in seeds]


def _learn(model: Any, turns: _Turns, planned: int) -> None:
    """The thread: the model learns for the rounds that are planned, and as many again wherever a run goes on."""
    try:
        while True:
            model.learn(planned, reset_num_timesteps=False)
    except _Stopped:
        return
    except Exception as error:  # raised again in the run's thread, by `OnlineModel.act`
        turns.answers.put(error)


class PPO(OnlineModel):
    """Proximal policy optimisation."""

    algorithm = "PPO"


class DQN(OnlineModel):
    """Deep Q-network: with ``gamma=0`` a network of the rewards' means, played by epsilon-greedy."""

    algorithm = "DQN"


class A2C(OnlineModel):
    """Advantage actor-critic."""

    algorithm = "A2C"
