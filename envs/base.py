"""The template of every bandit environment: streams, checks, regret, truncation."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dts_gym.arrays import integer
from dts_gym.problem import BanditInstance, BanditProblem
from dts_gym.seeding import stream

Observation = NDArray[np.float32]


class BanditEnv(gym.Env[Observation, np.int64]):
    """A contextual bandit as an environment: an episode is one instance of ``horizon`` rounds.

    Subclasses draw the instance and the contexts. The instance, the contexts and the noise have a random stream
    each, and every step draws the same amount of noise whatever the action: agents that play the same seed meet
    the same instance, contexts and noise.

    Parameters
    ----------
    problem : what agents may know; it exists before the first reset.
    instance_seed : pins the instance; None draws a new one at every reset.
    regret_info : whether ``info`` tells the truth about the round (it costs O(K d) a step).

    Attributes
    ----------
    problem : BanditProblem
    instance : BanditInstance or None
        The truth, None before the first reset. Agents must not look at it, the oracle excepted.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, problem: BanditProblem, *, instance_seed: int | None = None, regret_info: bool = True) -> None:
        refuse_oversized(problem.num_actions, problem.dim)
        self.problem = problem
        self.instance: BanditInstance | None = None
        self.instance_seed = None if instance_seed is None else integer("instance_seed", instance_seed, 0)
        self.regret_info = bool(regret_info)
        self.action_space = gym.spaces.Discrete(problem.num_actions)
        self.observation_space = self._context_space()
        self._pinned: int | None = None  # the seed of the instance that stands
        self._round: int | None = None  # None: a reset is due

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw an instance and the first context.

        Parameters
        ----------
        seed : of the instance, the contexts and the noise.
        options : ``{"instance_seed": s}`` pins the instance of this episode.

        Returns
        -------
        context, {}
            No action has been played, so there is nothing to tell.

        Raises
        ------
        ValueError
            If an option is unknown.
        """
        unknown = set(options or {}) - {"instance_seed"}
        if unknown:
            raise ValueError(f"options must be among ['instance_seed'], got {sorted(unknown)}")
        pinned = (options or {}).get("instance_seed", self.instance_seed)
        if pinned is not None:
            pinned = integer("instance_seed", pinned, 0)
        super().reset(seed=seed)
        # Children of one draw: an agent made with the same seed hangs on the seed itself, so never draws alike.
        root = np.random.SeedSequence([int(word) for word in self.np_random.integers(0, 1 << 32, 4)])
        if pinned is None or pinned != self._pinned:
            self.instance = self._draw_instance(stream(root if pinned is None else pinned, "instance"))
            self._pinned = pinned
        self._contexts = stream(root, "contexts")
        self._noise = stream(root, "noise")
        self._round = 0
        self._cumulative_regret = 0.0
        self._context = self._draw_context(self._contexts)
        return self._context.copy(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play an action on the current context.

        Parameters
        ----------
        action : int in 0..K-1.

        Returns
        -------
        next context, reward, False, whether the horizon is reached, info
            ``info`` holds ``expected_reward``, ``optimal_action``, ``regret`` and ``cumulative_regret``, all in
            expectation over the noise, of the context that the action was played on; nothing without `regret_info`.

        Raises
        ------
        ValueError
            If the action is out of range; the episode is then where it was.
        gymnasium.error.ResetNeeded
            Before the first reset and after the last round.
        """
        if self._round is None or self.instance is None:
            raise gym.error.ResetNeeded("reset must come before step: there is no episode, or it has ended")
        a = integer("action", action, 0, self.problem.num_actions - 1)
        context = self._context.astype(np.float64)
        info: dict[str, Any] = {}
        if self.regret_info:
            eta = self.instance.linear_predictors(context)
            predictor = float(eta[a])
            info = self._truth(eta, a)
        else:
            predictor = self.instance.linear_predictor(context, a)
        reward = float(self.problem.reward_model.sample(self._noise, np.asarray(predictor)))
        self._round += 1
        truncated = self._round >= self.problem.horizon
        if truncated:
            self._round = None
        self._context = self._draw_context(self._contexts)
        return self._context.copy(), reward, False, truncated, info

    def _truth(self, eta: NDArray[np.float64], action: int) -> dict[str, Any]:
        best = int(eta.argmax())
        model = self.problem.reward_model
        reached, possible = (float(mean) for mean in model.mean(eta[[action, best]]))
        self._cumulative_regret += possible - reached
        return {
            "expected_reward": reached,
            "optimal_action": best,
            "regret": possible - reached,
            "cumulative_regret": self._cumulative_regret,
        }

    @abstractmethod
    def _context_space(self) -> gym.spaces.Space[Observation]:
        """float32 box of the contexts."""

    @abstractmethod
    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        """A bandit of the problem's law."""

    @abstractmethod
    def _draw_context(self, rng: np.random.Generator) -> Observation:
        """A context, float32, in the observation space."""


def refuse_oversized(num_actions: int, dim: int) -> None:
    """ValueError if the parameters of ``num_actions`` actions, drawn, would not fit the machine's memory."""
    needed = 2 * 8 * num_actions * dim  # the draw and its noise
    memory = _memory_bytes()
    if memory is not None and needed > memory:
        raise ValueError(
            f"num_actions * dim must fit memory: {num_actions} x {dim} parameters take {needed / 1e9:.1f} GB to draw, "
            f"this machine has {memory / 1e9:.1f} GB (agents alone do not need the parameters)"
        )


def _memory_bytes() -> int | None:
    """Memory that this process may use: of the machine, or of its control group; None where neither is told."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return min(limits, default=None)
