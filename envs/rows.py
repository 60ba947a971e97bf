"""The template of environments whose rounds are rows of a table: logged rounds, labelled examples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dts_gym.envs.base import Observation
from dts_gym.envs.vector_inputs import checked_mode
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import integer


class RowsEnv(gym.Env[Observation, np.int64]):
    """A bandit whose contexts are rows of a table; subclasses say in which order, and what an action pays.

    Order and noise have a random stream each, and every step draws the same amount of noise whatever the action.

    Parameters
    ----------
    problem : the problem that agents may know; its horizon ends the episodes.
    contexts : (n, ...) rows, kept as float32.

    Attributes
    ----------
    problem : BanditProblem
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form
    render_mode = None

    def __init__(self, problem: BanditProblem, contexts: Array) -> None:
        assert problem.horizon is not None
        self.problem, self.horizon = problem, problem.horizon
        self._contexts = contexts.astype(np.float32)
        low, high = self._contexts.min(axis=0), self._contexts.max(axis=0)
        high = np.where(low == high, high + 1, high)  # a column of one value would be an empty interval
        self.action_space = gym.spaces.Discrete(problem.num_actions)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self._round: int | None = None  # None: a reset is due

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Parameters
        ----------
        seed : seed for the order of the rows and the noise.
        options : none are known.

        Returns
        -------
        context, info
            ``info`` has ``action_mask`` where the rows have masks.

        Raises
        ------
        ValueError
            If an option is given.
        """
        if not isinstance(options or {}, Mapping) or options:
            raise ValueError(f"options must be left out, got {options!r:.200}")
        super().reset(seed=None if seed is None else integer("seed", seed, 0))
        root = np.random.SeedSequence(self.np_random.integers(0, 1 << 32, 4).astype(np.uint32))
        self._order = self._draw_order(stream(root, "contexts"))
        self._noise = stream(root, "noise")
        self._round, self._cumulative_regret = 0, 0.0
        return self._shown(), self._mask_info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play an action on the current row.

        Parameters
        ----------
        action : int in 0..K-1.

        Returns
        -------
        next context, reward, False, whether the horizon is reached, info

        Raises
        ------
        ValueError
            If the action is out of range; the episode is then unchanged.
        gymnasium.error.ResetNeeded
            Before the first reset and after the last round.
        """
        if self._round is None:
            raise gym.error.ResetNeeded("reset must come before step: there is no episode, or it has ended")
        a = integer("action", action, 0, self.problem.num_actions - 1)
        reward, info = self._pay(int(self._order[self._round]), a, self._noise)
        self._round += 1
        truncated = self._round >= self.horizon
        shown, masks = self._shown(), self._mask_info()
        if truncated:
            self._round = None
        return shown, reward, False, truncated, info | masks

    def _shown(self) -> Observation:
        """The context of the coming round; after the last one the first again, which is not played."""
        assert self._round is not None
        context: Observation = self._contexts[self._order[self._round % self.horizon]].copy()
        return context

    def _mask_info(self) -> dict[str, Any]:
        """``action_mask`` of the coming round, where there are masks."""
        return {}

    @abstractmethod
    def _draw_order(self, rng: np.random.Generator) -> IntArray:
        """Numbers of the episode's rows, (horizon,)."""

    @abstractmethod
    def _pay(self, row: int, action: int, rng: np.random.Generator) -> tuple[float, dict[str, Any]]:
        """Reward and info of an action on a row."""


def rows_vector_maker(single: Callable[..., RowsEnv]) -> Callable[..., SyncVectorEnv]:
    """Return Gymnasium's ``vector_entry_point`` for an environment of rows: N of them in one process."""

    def make_vector(
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        **settings: Any,
    ) -> SyncVectorEnv:
        """Make N environments with the single environment's arguments."""
        count, mode = integer("num_envs", num_envs, 1), checked_mode(autoreset_mode)

        def make() -> gym.Env[Observation, np.int64]:
            env = single(**settings)
            limited = max_episode_steps is not None and 0 < max_episode_steps < env.horizon
            return gym.wrappers.TimeLimit(env, max_episode_steps) if limited and max_episode_steps else env

        return SyncVectorEnv([make] * count, autoreset_mode=mode)

    return make_vector
