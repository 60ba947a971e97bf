"""stable-baselines3 and this package side by side: its policies as agents, and agents as its models.

`SB3Policy` puts a trained model into `dts_gym.run` and `dts_gym.compare`; `RegretCallback` sums the regret of its
training; `AgentModel` puts an agent under SB3's callbacks. ``evaluate_policy`` accepts an agent directly.

A fair comparison of an agent that learns while it plays with a policy that was trained before:

- Every interaction counts. An agent's regret is summed from its first round on; a trained policy has explored already.
  So compare either the agent's regret with the regret of the training interactions (`RegretCallback`), or the regret of
  a round of both after as many interactions: ``run`` of ``SB3Policy(model)`` and of ``SB3Policy(agent)``, neither
  learning any more.
- ``gamma=0``: contexts do not depend on actions, so later rewards are noise in an action's value.
- One instance, ``instance_seed=s``, for all. Without it a policy is trained on a new instance in each episode: it is
  a function of the context alone, so at best the best such function under the prior, and its regret grows linearly in
  every instance. An agent starts from the prior in each and learns it.
- Agents know more: that rewards are linear and how noisy they are; dTS also knows the prior. Hyperparameters are tuned
  on both sides or on neither.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from dts_gym.utils.extras import missing_extra

try:
    import stable_baselines3
except ImportError as error:
    raise missing_extra("dts_gym.integrations.sb3", "stable-baselines3", "sb3", error) from error
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy

from dts_gym.harness.masks import masks_of_each, play
from dts_gym.harness.runner import check_sizes
from dts_gym.problem.problem import problem_of
from dts_gym.registry import register_agent
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import integer


class Predictor(Protocol):
    """The part of a model or policy that SB3's ``evaluate_policy`` uses."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Actions for observations, and the state."""


class SB3Policy(Shown):
    """A trained policy as an agent that plays it greedily and never learns: ``num_updates`` stays 0.

    Parameters
    ----------
    model : an object with SB3's ``predict`` and without memory: a model, a policy, one of this package's agents (which
        then plays by its posterior mean); or the file that ``model.save`` wrote. Load only files that you trust, as SB3
        reads them with pickle.
    algorithm : class of the model in a file: its name in SB3, for example "PPO", or ``"module:Class"``.
    seed : accepted as by every agent, and unused: the policy draws nothing.

    Raises
    ------
    ValueError
        If the model has no ``predict``, or a file is given without its algorithm, or with one that did not write it.
    FileNotFoundError
        If there is no such file.

    Notes
    -----
    Its id for `compare` and `make_agent` is ``"dts_gym.integrations.sb3:SB3"``, with ``model`` and ``algorithm`` as its
    settings.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=4, instance_seed=0)
    >>> model = stable_baselines3.A2C("MlpPolicy", env, gamma=0.0, seed=0, device="cpu").learn(50)
    >>> result = dts_gym.run(env, SB3Policy(model), num_rounds=100, seed=1)
    >>> result.regret.shape
    (100,)
    """

    num_updates = 0

    def __init__(
        self, model: Predictor | str | os.PathLike[str], *, algorithm: str | None = None, seed: Any = None
    ) -> None:
        is_file = isinstance(model, str | os.PathLike)
        if not is_file and algorithm is not None:
            raise ValueError(f"algorithm must be left out unless model is a file, got {algorithm!r}")
        self._model: Any = _loaded(model, algorithm) if is_file else model
        if not hasattr(self._model, "predict"):
            raise ValueError(f"model must be a stable-baselines3 model, or its file, got {model!r:.200}")
        # A run compares these with the environment's; None where ``model`` is not a model.
        self.action_space = getattr(self._model, "action_space", None)
        self.observation_space = getattr(self._model, "observation_space", None)

    @classmethod
    def from_env(cls, env: Any, *, seed: Any = None, **settings: Any) -> Self:
        """Return the policy; the environment is not used."""
        if "model" not in settings:
            raise ValueError("model must be given: a stable-baselines3 model, or its file with algorithm")
        return cls(**settings)

    def _repr_facts(self) -> dict[str, Any]:
        return {"model": type(self._model).__name__}

    def act(self, context: Any) -> int | IntArray:
        """The policy's greedy action: an int, or (n,) ints for n contexts."""
        actions = np.asarray(self._model.predict(context, deterministic=True)[0])
        return actions.astype(np.int64) if actions.ndim else int(actions)

    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Do nothing: the policy was trained before."""

    def reset(self, seed: Any = None) -> None:
        """Do nothing: there is nothing to forget."""

    def spawn(self, count: int) -> list[Self]:
        """Return ``count`` agents with this policy."""
        return [type(self)(self._model) for _ in range(integer("count", count, 1))]


def _loaded(path: Any, algorithm: str | None) -> Any:
    if not isinstance(algorithm, str):
        raise ValueError(f"algorithm must be the class of the model in a file, for example 'PPO', got {algorithm!r}")
    module, _, name = algorithm.rpartition(":")
    home = importlib.import_module(module) if module else stable_baselines3
    if not hasattr(getattr(home, name, None), "load"):
        raise ValueError(f"algorithm must be a class of {home.__name__} with load, got {algorithm!r}")
    if not any(Path(f"{path}{suffix}").is_file() for suffix in ("", ".zip")):  # SB3 adds the suffix
        raise FileNotFoundError(f"model must be a file that model.save wrote, there is none at {os.fspath(path)!r}")
    try:
        return getattr(home, name).load(path, device="cpu")
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"algorithm must be the class that wrote {os.fspath(path)!r}, got {algorithm!r}: {error}"
        ) from error


class RegretCallback(BaseCallback):  # type: ignore[misc]
    """Sums the regret of every interaction of a training, for ``model.learn(n, callback=...)``.

    It logs the cumulative ``regret`` with SB3's logger.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=4, instance_seed=0)
    >>> counted = RegretCallback()
    >>> _ = stable_baselines3.A2C("MlpPolicy", env, gamma=0.0, seed=0, device="cpu").learn(50, callback=counted)
    >>> counted.regret.shape
    (50,)
    """

    def __init__(self) -> None:
        super().__init__()
        self._regrets: list[float] = []
        self._total = 0.0

    @property
    def regret(self) -> Array:
        """(n,) cumulative regret over the interactions so far; several environments take turns."""
        return np.cumsum(self._regrets)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "regret" not in info:
                raise ValueError("the environment must report 'regret' in the info of a step, got none")
            self._regrets.append(float(info["regret"]))
            self._total += self._regrets[-1]
        self.logger.record("regret", self._total)
        return True


class AgentModel(BaseAlgorithm):  # type: ignore[misc]
    """One of this package's agents as an SB3 model: ``learn`` with SB3's callbacks and logger, ``predict``, ``save``.

    Parameters
    ----------
    agent : the agent, which goes on learning; the attribute `agent` is the same object.
    env : an environment, or a VecEnv whose environments hold one instance (``instance_seed``), whose contexts are then
        played and learned as a batch.
    seed : seed for the environments' resets; the agent has its own seed.
    forget : whether the agent is reset before the first round of another episode; None: only where
        that episode has another instance, in environments of this package without ``instance_seed``.
    tensorboard_log, verbose, stats_window_size : as for every SB3 model.

    Raises
    ------
    ValueError
        If the agent was made for other sizes, or a VecEnv holds several instances.

    Notes
    -----
    SB3's vector environments round rewards to float32.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=4)
    >>> model = AgentModel(dts_gym.make_agent("dTS", env, seed=0), env, seed=0).learn(100)
    >>> model.agent.num_updates
    100
    """

    _last_obs: Any

    def __init__(
        self, agent: Any, env: Any, *, seed: int | None = None, forget: bool | None = None, **settings: Any
    ) -> None:
        if getattr(agent, "problem", None) is None:
            raise ValueError(f"agent must be an agent, as make_agent makes it, got {agent!r:.200}")
        # The policy is a class that is never made: the agent is the policy.
        super().__init__(BasePolicy, env, 0.0, seed=seed, device="cpu", support_multi_env=True, **settings)
        check_sizes(self, agent)
        seeds = self.env.get_attr("instance_seed") if problem_of(self.env) is not None else [None]
        is_pinned = seeds[0] is not None and len(set(seeds)) == 1
        if self.n_envs > 1 and not is_pinned:
            raise ValueError(f"env must hold one instance, pinned by instance_seed, got {self.n_envs} environments")
        self.agent = agent
        self._forgets = problem_of(self.env) is not None and not is_pinned if forget is None else bool(forget)
        self._masks: Any = None  # of the next choice
        self._is_past = False  # whether the agent has learned an instance that has ended
        self._agent_seeds = stream(seed, "agent")
        if seed is not None:
            self.env.seed(seed)

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        log_interval: int = 1000,
        tb_log_name: str = "agent",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Play and learn ``total_timesteps`` rounds; the logger writes every ``log_interval`` rounds.

        As in SB3, each call resets the environment, unless ``reset_num_timesteps=False``; where that draws a new
        instance, the agent is reset too.
        """
        self._is_past |= self._forgets and reset_num_timesteps and self.num_timesteps > 0
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if reset_num_timesteps or self._masks is None:
            self._masks = masks_of_each(self.env.reset_infos)
        callback.on_training_start(locals(), globals())
        callback.on_rollout_start()
        while self.num_timesteps < total_timesteps:
            if self._is_past:
                self.agent.reset(int(self._agent_seeds.integers(1 << 62)))
            actions = play(self.agent, self._last_obs, self._masks)
            new_obs, rewards, dones, infos = self.env.step(actions)
            self.agent.update(self._last_obs, actions, rewards)
            self.num_timesteps += self.n_envs
            self._last_obs = new_obs
            begun = self.env.reset_infos  # where an episode ended, the mask is that of the next one's beginning
            self._masks = masks_of_each([begun[i] if done else infos[i] for i, done in enumerate(dones)])
            self._is_past = self._forgets and bool(dones.any())
            callback.update_locals(locals())
            if not callback.on_step():
                break
            self._update_info_buffer(infos, dones)
            if log_interval and self.num_timesteps // self.n_envs % log_interval == 0:
                self._write_log()
        callback.on_rollout_end()
        callback.on_training_end()
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        mask: Any = None,
    ) -> tuple[IntArray, Any]:
        """The agent's ``predict``, which never learns; ``mask`` as there."""
        actions, state = self.agent.predict(observation, state, episode_start, deterministic, mask)
        return actions, state

    def save(self, path: str | os.PathLike[str], *_: Any, **__: Any) -> None:
        """Write the agent, by its own ``save``; ``.npz`` is added to a name without a suffix."""
        target = Path(path)
        self.agent.save(target if target.suffix else target.with_suffix(".npz"))

    @classmethod
    def load(cls, *_: Any, **__: Any) -> Self:
        """Raise ValueError, as the file holds the agent."""
        raise ValueError("the file holds an agent: load it by its class, for example dts_gym.agents.DiffusionTS.load")

    def _setup_model(self) -> None:
        return

    def _write_log(self) -> None:
        episodes = [info["r"] for info in self.ep_info_buffer]
        if episodes:
            self.logger.record("rollout/ep_rew_mean", float(np.mean(episodes)))
        seconds = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        self.logger.record("time/fps", int((self.num_timesteps - self._num_timesteps_at_start) / seconds))
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)


register_agent("SB3", f"{__name__}:SB3Policy")
