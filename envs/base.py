"""The template of every bandit environment: streams, checks, regret, truncation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.unplayed import allowed_scores
from dts_gym.problem.action_names import with_name
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.memory import refuse_larger
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, choice, integer

Observation = NDArray[np.float32]


class Episode(NamedTuple):
    """One episode: an instance, and the random streams of its rounds."""

    instance: BanditInstance
    contexts: np.random.Generator
    noise: np.random.Generator


class BanditEnv(gym.Env[Observation, np.int64]):
    """A contextual bandit as an environment: an episode is one instance of ``horizon`` rounds.

    Subclasses draw the instance and the contexts, and may say which actions each round allows (`masks`). The instance,
    the contexts and the noise have a random stream each, and every step draws the same amount of noise whatever the
    action: agents that play the same seed meet the same instance, contexts and noise. `BanditVectorEnv` holds one such
    environment and draws many episodes from it.

    Parameters
    ----------
    problem : the problem that agents may know; it exists before the first reset.
    instance_seed : pins the instance; None draws a new one at every reset.
    regret_info : whether ``info`` reports the expected reward, the best action and the regret, at O(K d) a step.
    render_mode : "rgb_array", for `render`, or None. ``gym.make(..., render_mode="human")`` shows the frames in a
        window through Gymnasium's wrapper, where there is a screen (extra ``render``).

    Attributes
    ----------
    problem : BanditProblem
    instance : BanditInstance or None
        The truth, None before the first reset. Agents must not look at it, the oracle excepted.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        problem: BanditProblem,
        *,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        refuse_oversized(problem.num_actions, problem.dim)
        if problem.horizon is None:
            raise ValueError("problem must have a horizon, which ends the episodes, got None")
        self.problem, self.horizon = problem, problem.horizon
        self.instance: BanditInstance | None = None
        self.instance_seed = None if instance_seed is None else integer("instance_seed", instance_seed, 0)
        self.regret_info = boolean("regret_info", regret_info)
        self.render_mode = choice("render_mode", render_mode, self.metadata["render_modes"], or_none=True)
        self._watched: Any = None
        self.action_space = gym.spaces.Discrete(problem.num_actions)
        self.observation_space = self._context_space()
        self._pinned: tuple[int, BanditInstance] | None = None  # the pinned instance and its seed
        self._round: int | None = None  # None: a reset is due
        self._mask: BoolArray | None = None  # what the present round allows; None: all actions

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw an instance and the first context.

        Parameters
        ----------
        seed : seed for the instance, the contexts and the noise.
        options : ``{"instance_seed": s}`` pins the instance of this episode.

        Returns
        -------
        context, info
            No action has been played: ``info`` is empty, or has ``action_mask`` where rounds do not allow all actions.

        Raises
        ------
        ValueError
            If an option is unknown.
        """
        pinned = self.pinned_by(options or {}, ["instance_seed"])
        super().reset(seed=None if seed is None else integer("seed", seed, 0))
        self._episode = self.begin_episode(self.np_random, pinned)
        self.instance = self._episode.instance
        self._round = 0
        self._cumulative_regret = 0.0
        self._history: list[tuple[int, float]] = []  # actions and cumulative regrets, for frames
        self._context = self.next_contexts(self._episode, 1)[0]
        return self._context.copy(), self._offered(0)

    def pinned_by(self, options: Mapping[str, Any], known: Sequence[str]) -> int | None:
        """The seed that pins the instance under a reset's options; ValueError if one is not ``known``."""
        if not isinstance(options, Mapping):
            raise ValueError(f"options must be a mapping, got {options!r:.200}")
        unknown = set(options) - set(known)
        if unknown:
            raise ValueError(f"options must be among {list(known)}, got {sorted(unknown)}")
        pinned = options.get("instance_seed", self.instance_seed)
        return None if pinned is None else integer("instance_seed", pinned, 0)

    def begin_episode(self, rng: np.random.Generator, pinned: int | None) -> Episode:
        """Draw an episode with ``rng``, which advances by four numbers; where pinned, the instance is that of the seed.

        An episode pinned to the seed of the one before has the very same instance object.
        """
        # Children of one draw: an agent made with the same seed derives its streams from the seed itself, so the two
        # never draw the same numbers.
        root = np.random.SeedSequence(rng.integers(0, 1 << 32, 4).astype(np.uint32))
        if pinned is None:
            instance = self._drawn(stream(root, "instance"))
            self._pinned = None
        else:
            if self._pinned is None or self._pinned[0] != pinned:
                self._pinned = pinned, self._drawn(stream(pinned, "instance"))
            instance = self._pinned[1]
        return Episode(instance, stream(root, "contexts"), stream(root, "noise"))

    def _drawn(self, rng: np.random.Generator) -> BanditInstance:
        """An instance, with its context where the problem says that each shows one."""
        instance = self._draw_instance(rng)
        if self.problem.fixed_context and instance.fixed_context is None:
            return replace(instance, fixed_context=self._draw_contexts(rng, 1)[0])
        return instance

    def next_contexts(self, episode: Episode, count: int) -> Observation:
        """The contexts of an episode's next rounds, (count, ...) float32; splitting the calls changes no context."""
        fixed = episode.instance.fixed_context
        if fixed is not None:
            return np.broadcast_to(fixed, (count, *fixed.shape))
        return self._draw_contexts(episode.contexts, count)

    def masks(self, rounds: IntArray) -> BoolArray | None:
        """Return the actions that rounds of an episode allow, (n, K) booleans; None: every round allows all.

        Parameters
        ----------
        rounds : (n,) numbers of rounds, from 0; those from the horizon on allow what the last round does.
        """
        return None

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Play an action on the current context.

        Parameters
        ----------
        action : int in 0..K-1, one that the round's mask allows.

        Returns
        -------
        next context, reward, False, whether the horizon is reached, info
            ``info`` holds ``expected_reward``, ``optimal_action``, ``regret`` and ``cumulative_regret``, all in
            expectation over the noise and for the context that the action was played on; without `regret_info` it
            lacks these. The best action is the best of those allowed. Where rounds do not allow all actions it has
            ``action_mask``, (K,) int8, the actions that may be played on the next context.

        Raises
        ------
        ValueError
            If the action is out of range or not allowed; the episode is then unchanged.
        gymnasium.error.ResetNeeded
            Before the first reset and after the last round.
        """
        if self._round is None or self.instance is None:
            raise gym.error.ResetNeeded("reset must come before step: there is no episode, or it has ended")
        a = integer("action", action, 0, self.problem.num_actions - 1)
        if self._mask is not None and not self._mask[a]:
            shown = with_name(a, self.problem.action_names)
            raise ValueError(f"action must be one that info['action_mask'] allows in this round, got {shown}")
        context = self._context.astype(np.float64)
        predictor = self.instance.linear_predictor(context, a)
        info = self._truth(context, predictor) if self.regret_info else {}
        reward = float(self.problem.reward_model.sample(self._episode.noise, np.asarray(predictor)))
        self._round += 1
        info |= self._offered(self._round)
        truncated = self._round >= self.horizon
        if truncated:
            self._round = None
        if self.render_mode is not None:
            self._history.append((a, self._cumulative_regret))
        self._context = self.next_contexts(self._episode, 1)[0]
        return self._context.copy(), reward, False, truncated, info

    def watch(self, agent: Any) -> None:
        """Show on the frames what an agent believes; None shows the truth alone.

        Parameters
        ----------
        agent : an agent with ``marginals``, as every agent with a posterior has.

        Raises
        ------
        ValueError
            If the agent has no ``marginals``.
        """
        if agent is not None and not hasattr(agent, "marginals"):
            raise ValueError(f"agent must have a posterior, with marginals(context), got {agent!r:.200}")
        self._watched = agent

    def render(self) -> NDArray[np.uint8] | None:
        """A frame, (320, 720, 3) RGB: the truth on the next context, plays, regret so far; None without a render mode.

        The frame also shows the posterior of the agent that `watch` was given: mean and two standard deviations of
        every action's ``x' theta``, at the agent's exploration scale. Actions are labelled where the problem names
        them.

        Raises
        ------
        gymnasium.error.ResetNeeded
            Before the first reset.
        """
        if self.render_mode is None:
            gym.logger.warn('render shows nothing without a render mode: gym.make(..., render_mode="rgb_array")')
            return None
        if self.instance is None:
            raise gym.error.ResetNeeded("reset must come before render: there is no episode")
        from dts_gym.envs import rendering

        context, played = self._context.astype(np.float64), [action for action, _ in self._history]
        regrets = [regret for _, regret in self._history] if self.regret_info else None
        total = "" if not regrets else f", regret {regrets[-1]:.1f}"
        view = rendering.View(
            truth=self.instance.linear_predictors(context),
            belief=None if self._watched is None else self._watched.marginals(self._context),
            counts=np.bincount(np.array(played, dtype=np.int64), minlength=self.problem.num_actions),
            regret=regrets,
            title=f"round {len(played)} of {self.horizon}{total}",
            names=self.problem.action_names,
        )
        return rendering.draw(view)

    def _offered(self, number: int) -> dict[str, Any]:
        """Begin the round of that number: the info of its mask, empty where all actions are allowed."""
        masks = self.masks(np.array([number]))
        self._mask = None if masks is None else masks[0]
        return {} if self._mask is None else {"action_mask": self._mask.astype(np.int8)}

    def _truth(self, context: Array, predictor: float) -> dict[str, Any]:
        assert self.instance is not None
        best = int(allowed_scores(self.instance.linear_predictors(context), self._mask).argmax())
        # The same formula as for the played action, so that the best action has a regret of exactly zero.
        best_predictor = self.instance.linear_predictor(context, best)
        means = self.problem.reward_model.mean(np.array([predictor, best_predictor]))
        reached, possible = (float(mean) for mean in means)
        self._cumulative_regret += possible - reached
        return {
            "expected_reward": reached,
            "optimal_action": best,
            "regret": possible - reached,
            "cumulative_regret": self._cumulative_regret,
        }

    @abstractmethod
    def _context_space(self) -> gym.spaces.Space[Observation]:
        """The float32 box that contexts lie in."""

    @abstractmethod
    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        """Draw one bandit from the problem's distribution."""

    @abstractmethod
    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        """Draw ``count`` contexts, (count, ...) float32, in the observation space; n draws of one equal one of n."""


def refuse_oversized(num_actions: int, dim: int, num_envs: int = 1) -> None:
    """Raise ValueError if the drawn parameters of all actions of all instances would not fit the machine's memory."""
    names, sizes = ("", "") if num_envs == 1 else ("num_envs * ", f"{num_envs} x ")
    # The draw and its noise; for many instances, the draws and their stack.
    needed = 2 * 8 * num_envs * num_actions * dim
    what = f"{sizes}{num_actions} x {dim} parameters"
    refuse_larger(f"{names}num_actions * dim", what, needed, " (agents alone do not need the parameters)")


def alike_but_for_priors(envs: Any, count: int) -> list[BanditEnv]:
    """Return ``count`` environments that may differ in their priors alone; else raise ValueError."""
    if not isinstance(envs, Sequence) or len(envs) != count or not all(isinstance(env, BanditEnv) for env in envs):
        raise ValueError(f"env must be an environment of this package, or {count} of them, got {envs!r:.200}")
    first = _kind(envs[0])
    for env in envs[1:]:
        for name, value in _kind(env).items():
            if value != first[name]:
                raise ValueError(f"env must be environments of the same {name}, got {first[name]} and {value}")
    return list(envs)


def _kind(env: BanditEnv) -> dict[str, Any]:
    problem = env.problem
    return {
        "class": type(env),
        "num_actions": problem.num_actions,
        "features": (problem.features, problem.context_shape),
        "rewards": (type(problem.reward_model), problem.reward_model.settings()),
        "horizon": env.horizon,
        "regret_info": env.regret_info,
        "instance_seed": env.instance_seed,
    }
