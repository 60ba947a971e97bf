"""Many independent instances of a bandit environment in one vector environment; a step is arithmetic on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dts_gym.envs.ahead import RoundsAhead, masks_of
from dts_gym.envs.base import BanditEnv, Episode, Observation, alike_but_for_priors, refuse_oversized
from dts_gym.envs.vector_inputs import checked_mode, checked_reset_mask, checked_seeds
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import integer, integers, plain

# Numbers of rounds drawn ahead: the first block, from which blocks double, and the longest block.
_FIRST_BLOCK, _LONGEST_BLOCK = 16, 256
# Limits on the size of a block of contexts, and of one instance's predictors of all actions in it.
_CONTEXT_BYTES, _PREDICTORS = 1 << 26, 1 << 20


class BanditVectorEnv(VectorEnv[Observation, Any, NDArray[Any]]):
    """N independent instances of a bandit environment, distributed as N single environments.

    ``gym.make_vec(id, num_envs=N)`` makes one, with the single environment's arguments. Sub-environment i under
    ``reset(seed=s)`` is the single environment under ``reset(seed=s + i)``, number for number, whatever is played.

    A sub-environment whose episode ends is reset in the same step, unless ``autoreset_mode`` says otherwise: the
    observation is then the next episode's first, and the last one's is in ``final_obs``. In every mode ``infos`` holds
    ``regret`` of every step that plays; where an episode ended and another began at once, ``final_info`` holds it too,
    as Gymnasium has it.

    Parameters
    ----------
    env : the single environment that instances, contexts and noise are drawn from; it is not stepped. Or N of them, of
        the same sizes, rewards and horizon, one for each instance: their priors may differ.
    num_envs : N, the number of instances.
    autoreset_mode : when a sub-environment whose episode ended begins another: in the same step ("SameStep"), in the
        next step ("NextStep", as Gymnasium's vector wrappers expect), or at a reset with ``reset_mask`` ("Disabled").
    max_episode_steps : number of rounds after which episodes end, where it is less than the horizon; None: the horizon.

    Attributes
    ----------
    problem : BanditProblem
        The problem of every instance; agents read it. Where there are N environments, that of the first.
    instance_seed : int or None
        The seed that pins all instances to one.

    Raises
    ------
    ValueError
        If the parameters of N instances would not fit in memory, a render mode is asked for, or environments differ in
        more than their priors.

    Notes
    -----
    Contexts, noise and best actions do not depend on what is played: they are drawn ahead, a block of rounds at a time,
    from every sub-environment's own streams. A step then looks up the played parameters, O(N d); the best actions cost
    O(N K d) a round, as matrix products. Beginning an episode costs as much as in a single environment.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> envs = gym.make_vec("DiffusionBandit-v0", num_envs=3, num_actions=10)
    >>> contexts, _ = envs.reset(seed=0)
    >>> contexts, rewards, _, truncations, infos = envs.step([4, 0, 9])
    >>> contexts.shape, rewards.shape, infos["regret"].shape
    ((3, 5), (3,), (3,))
    """

    def __init__(
        self,
        env: BanditEnv | Sequence[BanditEnv],
        num_envs: int,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
    ) -> None:
        self.num_envs = integer("num_envs", num_envs, 1)
        self._envs = [env] * self.num_envs if isinstance(env, BanditEnv) else alike_but_for_priors(env, self.num_envs)
        env = self._envs[0]
        problem = env.problem
        refuse_oversized(problem.num_actions, problem.dim, self.num_envs)
        if env.render_mode is not None:
            raise ValueError(f"render_mode must be None of a vector environment, got {env.render_mode!r}")
        self._mode = checked_mode(autoreset_mode)
        self.metadata = {"render_modes": [], "autoreset_mode": self._mode}
        limit = plain(max_episode_steps)
        unlimited = limit is None or (isinstance(limit, int) and limit == -1)  # -1 is Gymnasium's word for no limit
        limit = env.horizon if unlimited else integer("max_episode_steps", limit, 1)
        self._horizon = min(limit, env.horizon)
        self._ended = np.zeros(self.num_envs, dtype=bool)  # whose episode has ended, and no other has begun
        self.single_action_space, self.single_observation_space = env.action_space, env.observation_space
        self.action_space = batch_space(env.action_space, self.num_envs)
        self.observation_space = batch_space(env.observation_space, self.num_envs)
        self._env = env
        self._rows = np.arange(self.num_envs)
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs  # None: not seeded yet
        self._seeds: list[int | None] = [None] * self.num_envs
        self._episodes: list[Episode] = []  # empty: a reset is due
        context_bytes = 4 * self.num_envs * int(np.prod(problem.context_shape))
        rounds = _CONTEXT_BYTES // context_bytes
        self._longest = max(1, min(_LONGEST_BLOCK, self._horizon, rounds, _PREDICTORS // problem.num_actions))

    @property
    def problem(self) -> BanditProblem:
        """The problem of every instance, which agents may know; of different ones the first."""
        return self._env.problem

    @property
    def problems(self) -> tuple[BanditProblem, ...]:
        """The problem of each instance."""
        return tuple(env.problem for env in self._envs)

    @property
    def instance_seed(self) -> int | None:
        """The seed that pins all instances to one; None: they are independent."""
        return self._env.instance_seed

    @property
    def instances(self) -> list[BanditInstance]:
        """The truths, which only oracles may read; empty before the first reset."""
        return [episode.instance for episode in self._episodes]

    @property
    def instance(self) -> BanditInstance | None:
        """The one truth where all sub-environments hold the same, pinned; else None."""
        held = self.instances
        return held[0] if held and all(instance is held[0] for instance in held) else None

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The sub-environments' generators, from which their episodes are drawn."""
        return tuple(self._generator(i) for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seeds of `np_random`."""
        return tuple(self._seeds[i] for i in range(self.num_envs) if self._generator(i))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw instances and first contexts.

        Parameters
        ----------
        seed : seed s, with which sub-environment i uses s + i; or a seed or None for each. None continues the present
            streams.
        options : ``{"instance_seed": s}`` pins the instances of these episodes to one; ``{"reset_mask": mask}``, (N,)
            booleans, resets these sub-environments only.

        Returns
        -------
        contexts (N, d), or (N, K, d) with shared features, infos
            ``infos`` is empty, or has ``action_mask`` (N, K) where rounds do not allow all actions.

        Raises
        ------
        ValueError
            If an option is unknown, or a seed or the mask does not fit; nothing is then reset.
        gymnasium.error.ResetNeeded
            If the first reset does not reset all sub-environments.
        """
        if not isinstance(options or {}, Mapping):
            raise ValueError(f"options must be a mapping, got {options!r:.200}")
        given = dict(options or {})
        mask = (
            checked_reset_mask(given.pop("reset_mask"), self.num_envs)
            if "reset_mask" in given
            else np.ones(self.num_envs, bool)
        )
        pinned = self._env.pinned_by(given, ["instance_seed", "reset_mask"])
        seeds = checked_seeds(seed, self.num_envs)
        if not (self._episodes or mask.all()):
            raise gym.error.ResetNeeded("the first reset must be of all sub-environments, got a mask that leaves some")
        for i in np.flatnonzero(mask).tolist():
            if seeds[i] is not None:
                self._rngs[i], self._seeds[i] = seeding.np_random(seeds[i])
        if mask.all():
            self._begin_all(pinned)
        else:
            self._begin(mask, pinned)
        return self._ahead.contexts[self._ahead.at].copy(), self._offered(mask)

    def step(self, actions: Any) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Play an action in every instance.

        Parameters
        ----------
        actions : (N,) ints in 0..K-1, each one that its instance's mask allows.

        Returns
        -------
        next contexts, rewards (N,), terminations (N,) all False, truncations (N,), infos
            ``infos`` holds the single environment's values as arrays (N,), each with its mask ``_key``. Where an
            episode ended and another began in the same step they are in ``infos["final_info"]`` as well, and the last
            context is in ``infos["final_obs"]``. Where episodes begin in the next step, that step plays nothing: its
            reward is 0, and its info masked out.

        Raises
        ------
        ValueError
            If an action is out of range or not allowed or there are not N; all episodes are then unchanged.
        gymnasium.error.ResetNeeded
            Before the first reset, and where an ended episode waits for one (autoreset mode "Disabled").
        """
        if not self._episodes:
            raise gym.error.ResetNeeded("reset must come before step: there is no episode")
        begun = self._ended
        if self._mode is AutoresetMode.DISABLED and begun.any():
            raise gym.error.ResetNeeded(
                "reset must come before step where episodes ended: options={'reset_mask': mask}"
            )
        a = integers("actions", actions, self.num_envs, self.problem.num_actions)
        self._refuse_disallowed(a, begun)
        ahead, at = self._ahead, self._ahead.at
        if self.problem.features == "disjoint":
            predictors = np.vecdot(self._parameters[self._rows, a], ahead.contexts[at].astype(np.float64))
        else:
            predictors = np.vecdot(ahead.contexts[at, self._rows, a].astype(np.float64), self._parameters)
        rewards = self.problem.reward_model.from_noise(ahead.noise[at], predictors)
        told = self._truth(predictors, at) if self._env.regret_info else {}
        self._rounds += 1
        truncated = (self._rounds >= self._horizon) & ~begun
        ahead.at += 1
        same_step = self._mode is AutoresetMode.SAME_STEP
        infos: dict[str, Any] = _masked(told, ~begun)
        if same_step and truncated.any():
            infos |= self._final_infos(told, truncated)
        if ahead.at == ahead.length:  # episodes that begin now draw their own rounds
            self._new_block(min(2 * ahead.length, self._longest), ~truncated if same_step else ~begun)
        new = truncated if same_step else begun
        if new.any():
            rewards = rewards if same_step else np.where(new, 0.0, rewards)
            self._begin(new, self._env.instance_seed)
        if not same_step:
            self._ended = truncated.copy()
        infos |= self._offered(np.ones(self.num_envs, bool))
        return self._ahead.contexts[self._ahead.at].copy(), rewards, np.zeros(self.num_envs, bool), truncated, infos

    def _refuse_disallowed(self, actions: IntArray, begun: BoolArray) -> None:
        """Raise ValueError if an instance whose episode plays on does not allow its action."""
        if self._allowed is not None and (wrong := ~(self._allowed[self._rows, actions] | begun)).any():
            i = int(wrong.argmax())
            raise ValueError(f"actions must be ones that infos['action_mask'] allows, got {actions[i]} in instance {i}")

    def _truth(self, predictors: Array, at: int) -> dict[str, Array | IntArray]:
        reached = self.problem.reward_model.mean(predictors)
        regret = self._ahead.possible[at] - reached
        self._regret += regret
        return {
            "expected_reward": reached,
            "optimal_action": self._ahead.best[at],
            "regret": regret,
            "cumulative_regret": self._regret,
        }

    def _final_infos(self, told: dict[str, Array | IntArray], ended: BoolArray) -> dict[str, Any]:
        last = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended).tolist():
            if self._ahead.at < self._ahead.length:
                last[i] = self._ahead.contexts[self._ahead.at, i].copy()
            else:
                last[i] = self._envs[i].next_contexts(self._episodes[i], 1)[0].copy()
        infos: dict[str, Any] = {"final_obs": last, "_final_obs": ended.copy()}
        final = _masked(told, ended) | self._offered(ended)
        return infos | {"final_info": final, "_final_info": ended.copy()}

    def _begin_all(self, pinned: int | None) -> None:
        K, d, N = self.problem.num_actions, self.problem.dim, self.num_envs
        self._parameters = np.empty((N, K, d) if self.problem.features == "disjoint" else (N, d))
        self._rounds, self._regret, self._ended = np.zeros(N, dtype=np.int64), np.zeros(N), np.zeros(N, dtype=bool)
        self._episodes = []
        for i in range(N):
            self._episodes.append(self._envs[i].begin_episode(self._generator(i), pinned))
            self._parameters[i] = self._episodes[i].instance.parameters
        self._new_block(min(_FIRST_BLOCK, self._longest), np.ones(N, bool))

    def _begin(self, mask: BoolArray, pinned: int | None) -> None:
        """Begin episodes where the mask is True; the others continue."""
        for i in np.flatnonzero(mask).tolist():
            before = self._episodes[i].instance
            self._episodes[i] = self._envs[i].begin_episode(self._generator(i), pinned)
            if self._episodes[i].instance is not before:
                self._parameters[i] = self._episodes[i].instance.parameters
            self._ahead.draw(i, self._episodes[i], 0)
        self._rounds[mask] = 0
        self._ended[mask] = False
        self._regret[mask] = 0.0

    def _new_block(self, length: int, mask: BoolArray) -> None:
        """Start a block of ``length`` rounds; draw it for the masked sub-environments, as the others begin anew."""
        self._ahead = RoundsAhead(self._envs, length)
        for i in np.flatnonzero(mask).tolist():
            self._ahead.draw(i, self._episodes[i], int(self._rounds[i]))

    def _offered(self, told: BoolArray) -> dict[str, Any]:
        """The info of the rounds that begin: masks of instances where ``told``; empty where all actions are allowed."""
        self._allowed = masks_of(self._envs, self._rounds)
        return {} if self._allowed is None else _masked({"action_mask": self._allowed.astype(np.int8)}, told)

    def _generator(self, i: int) -> np.random.Generator:
        rng = self._rngs[i]
        if rng is None:
            rng, self._seeds[i] = seeding.np_random()
            self._rngs[i] = rng
        return rng


def _masked(values: Mapping[str, NDArray[Any]], mask: BoolArray) -> dict[str, NDArray[Any]]:
    """Infos in the form of Gymnasium's vector environments, as fresh arrays: zeros where masked out, and the masks."""
    infos = {}
    for key, value in values.items():
        rows = mask.reshape(-1, *(1,) * (value.ndim - 1))
        infos[key], infos[f"_{key}"] = np.where(rows, value, 0), mask.copy()
    return infos


def vector_maker(single: Callable[..., BanditEnv]) -> Callable[..., BanditVectorEnv]:
    """Return Gymnasium's ``vector_entry_point`` for a single environment's class."""

    def make_vector(
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        prior_seeds: Sequence[int] | None = None,
        **settings: Any,
    ) -> BanditVectorEnv:
        """Make N instances, with the single environment's arguments; or a ``prior_seed`` for each."""
        env: BanditEnv | list[BanditEnv]
        if prior_seeds is None:
            env = single(**settings)
        else:
            env = [single(**settings, prior_seed=seed) for seed in prior_seeds]
        return BanditVectorEnv(env, num_envs, autoreset_mode, max_episode_steps)

    return make_vector
