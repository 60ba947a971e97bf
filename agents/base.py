"""The template of every agent: what is checked, where randomness comes from, how a state is kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self, final

import numpy as np

from dts_gym.agents.cautions import Cautious
from dts_gym.agents.inputs import checked_context, checked_mask, checked_pending, checked_problem
from dts_gym.agents.propensities import Propensities
from dts_gym.agents.saving import Plan, Saved
from dts_gym.agents.together import Together
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import finite_array, integer, integers, plain


class Agent(Saved, Cautious, Together, Propensities):
    """A bandit agent: it picks actions for contexts and learns from rewards.

    Subclasses define how to choose, learn, forget and keep their state; this class checks input, owns the random
    streams and writes and reads the files.

    Parameters
    ----------
    problem : what the agent may know of the bandit.
    seed : seed for all of the agent's random draws; None uses fresh entropy.
    settings : the subclass's other constructor arguments by name, as `load` passes them again.

    Attributes
    ----------
    problem : BanditProblem
    reward_model : RewardModel
        The distribution of rewards that the agent assumes.
    num_updates : int
        Number of observations learned since the last `reset`.
    """

    reward_model: RewardModel
    learns = True  # whether choices depend on the rewards that it was told
    is_by_scores = False  # whether a choice is the action of the largest posterior draw or bound, and nothing else
    _intercept = False  # whether contexts get a trailing 1

    def __init__(self, problem: BanditProblem, *, seed: int | np.random.SeedSequence | None, **settings: Any) -> None:
        super().__init__()
        self.problem = checked_problem(problem)
        self._settings = {name: plain(value) for name, value in settings.items()}
        self.reward_model = self._believed_rewards()
        self.reset(seed)

    @property
    def picks_in_order(self) -> bool:
        """Whether the picks of a batch depend on those before them."""
        return False

    @classmethod
    def from_env(cls, env: Any, *, seed: int | np.random.SeedSequence | None = None, **settings: Any) -> Self:
        """The agent for an environment's problem, ``env.unwrapped.problem``."""
        return cls(env.unwrapped.problem, seed=seed, **settings)

    @final
    def act(
        self,
        context: Any,
        mask: Any = None,
        *,
        pending: tuple[Any, Any] | None = None,
        size: int | None = None,
    ) -> int | IntArray:
        """Pick an action for every context.

        Parameters
        ----------
        context : (d,), or (n, d) for n contexts of one instance; with shared features (K, d) or (n, K, d).
        mask : (K,) booleans, the actions that may be picked now, or (n, K), a row for each of n contexts; zeros and
            ones of type int8, as Gymnasium's spaces accept them, count as booleans. None allows all. A mask conditions
            nothing: the agent draws as without one, and picks the best allowed action.
        pending : contexts (m, d), with shared features (m, K, d), and actions (m,) of plays whose rewards have not
            come yet. An agent that uses upper confidence bounds counts each as played with a reward equal to its mean,
            only for this call, so that it does not repeat a pending play. Agents that draw ignore them, because every
            draw is different.
        size : number m of actions for every context: the m best of one draw or bounds, in order; None picks one.

        Returns
        -------
        int or (n,) ints; with ``size`` (m,) or (n, m) ints
            Each row has an independent posterior draw where the agent draws. An agent that uses upper confidence bounds
            picks the rows in order: each pick counts as played, its reward as equal to its mean, for those after it.

        Raises
        ------
        ValueError
            If the shape does not fit the problem, a value is not finite, a mask allows no action, or rewards outweigh
            the prior by more than 32 digits resolve. The agent is then unchanged.

        Notes
        -----
        A mask costs O(K), a mask for each row a choice for each row. Pending plays cost a copy of the posterior and an
        update each.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> problem = BanditProblem(3, 2, random_linear_prior(2, 1), GaussianReward())
        >>> agent = make_agent("LinTS", problem, seed=0)
        >>> agent.act([0.5, 1.0], mask=[False, True, False])
        1
        >>> agent = make_agent("dUCB", problem, seed=0)
        >>> first = agent.act([0.5, 1.0])
        >>> agent.act([0.5, 1.0], pending=([[0.5, 1.0]], [first])) == first
        False
        """
        x = self._check_context(context)
        waiting = checked_pending(pending, self._check_context, self._is_single, self.problem.num_actions)
        allowed = self._check_mask(mask, x)
        count = self._checked_size(size, allowed)
        play = self._play if count is None else partial(self._slates, size=count)
        with self._lock:
            self._prepare(x)
            chosen = self._drawn("act", lambda rng: play(x, rng, allowed, waiting))
            self._begin_plan()
        return int(chosen) if self._is_single(x) and count is None else chosen

    @final
    def begin_run(self, num_rewards: int) -> None:
        """Plan exploration for a run that begins now; `dts_gym.run` calls this before its first round.

        Exploration rules that depend on the number of rounds left count from here. Without this call a plan begins at
        the first `act`, and its length is the agent's ``horizon`` or the problem's.

        Parameters
        ----------
        num_rewards : number of rewards that the agent will learn in the run.

        Raises
        ------
        ValueError
            If ``num_rewards`` is not a positive integer.
        """
        with self._lock:
            self._plan = Plan(self.num_updates, integer("num_rewards", num_rewards, 1))

    def _prepare(self, contexts: Array) -> None:
        """What an agent does before it chooses for checked contexts; nothing, for most."""

    def _begin_plan(self) -> None:
        """The plan of exploration begins at the first choice, if no run has begun one."""
        if self._plan.start is None:
            self._plan = self._plan._replace(start=self.num_updates)

    @final
    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Learn from rewards; everything is checked before anything changes.

        A batch has the same result as its rows learned one by one in their order, up to rounding; where the posterior
        has a closed form for Gaussian rewards (`TwoLevelPosterior`) it is one pass of array operations, else a loop.

        Rewards may come late and rounds may be another policy's: the result depends on the rounds alone, not on what
        the agent did meanwhile, so a log of past rounds is a warm start. Where the posterior has a closed form the
        order of the rounds does not matter either, up to rounding. Elsewhere it does, because expansion points and
        tangents are found when an action is played: on perceptrons means move by some 0.1 posterior standard deviations
        (root mean square), which is about the error that they have anyway.

        Parameters
        ----------
        context : as in `act`.
        action : int, or (n,) ints, in 0..K-1.
        reward : float, or (n,) floats.

        Raises
        ------
        ValueError
            If a shape does not fit, a value is not finite, an action is out of range, or a reward is outside
            the support of the agent's reward model. The agent is then unchanged.
        """
        x = self._check_context(context)
        if self._is_single(x):
            a = integer("action", action, 0, self.problem.num_actions - 1)
            y = self.reward_model.check(plain(reward))
            with self._lock:
                self._learn(x, a, y)
                self.num_updates += 1
                if self._first is not None:
                    self._look_at(x[None], np.array([a]), np.array([y]))
            return
        actions = integers("action", action, len(x), self.problem.num_actions)
        rewards = finite_array("reward", reward, (len(x),))
        checked = self.reward_model.check_all(rewards)
        with self._lock:
            before = self._state() if self._may_refuse() else None  # then none of the batch is learned
            try:
                self._learn_all(x, actions, checked)
            except ValueError:
                if before is not None:
                    self._forget()
                    self._restore(before)
                raise
            self.num_updates += len(x)
            if self._first is not None:
                self._look_at(x, actions, checked)

    @final
    def predict(
        self,
        observation: Any,
        state: tuple[Any, ...] | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
        mask: Any = None,
    ) -> tuple[IntArray, tuple[Any, ...] | None]:
        """Return actions as a stable-baselines3 policy does; never learns, and never advances the stream of `act`.

        Parameters
        ----------
        observation : the context, as in `act`.
        state, episode_start : arguments of recurrent policies; ``state`` is returned as it came.
        deterministic : True picks the action of the largest posterior mean, the lowest-numbered of tied ones; False
            picks with the distribution of `act`, from a random stream of its own.
        mask : the actions that may be picked, as in `act`.

        Returns
        -------
        ndarray of ints () or (n,), state
        """
        x = self._check_context(observation)
        allowed = self._check_mask(mask, x)
        choose, name = (self._choose_greedily, "predict-greedy") if deterministic else (self._choose, "predict-draw")
        with self._lock:
            return np.asarray(self._drawn(name, lambda rng: self._choose_allowed(choose, x, rng, allowed))), state

    @final
    def reset(self, seed: int | np.random.SeedSequence | None = None) -> None:
        """Forget everything learned and start all random streams from ``seed`` (None: fresh entropy)."""
        with self._lock:
            self.reseed(seed)
            self.num_updates = 0
            self._plan = Plan()
            self._forget()

    @classmethod
    def _rebuild(cls, problem: BanditProblem, settings: Mapping[str, Any], state: Mapping[str, Any]) -> Self:
        return cls(problem, seed=0, **settings)

    def _believed_rewards(self) -> RewardModel:
        return self.problem.reward_model

    def _check_context(self, context: Any) -> Array:
        x = checked_context(context, self.problem.context_shape)
        return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1) if self._intercept else x

    def _may_refuse(self) -> bool:
        """Whether `_learn` can raise ValueError: rewards may be too large together, or outweigh the prior."""
        return not isinstance(self.reward_model, GaussianReward)

    def _is_single(self, contexts: Array) -> bool:
        """Whether checked contexts are one, not a batch."""
        return contexts.ndim == len(self.problem.context_shape)

    def _check_mask(self, mask: Any, contexts: Array) -> BoolArray | None:
        """``mask`` for checked contexts; None where it allows all."""
        return checked_mask(mask, self.problem.num_actions, None if self._is_single(contexts) else len(contexts))

    @staticmethod
    def _choose_allowed(
        choose: Callable[[Array, np.random.Generator, BoolArray | None], IntArray],
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
    ) -> IntArray:
        """Actions, () or (n,), that ``choose`` picks under a checked mask, (K,) or a row a context."""
        if mask is None or mask.ndim == 1:
            return choose(contexts, rng, mask)
        rows = [choose(x, rng, None if one.all() else one) for x, one in zip(contexts, mask, strict=True)]
        return np.array(rows, dtype=np.int64)

    @abstractmethod
    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """Actions, () or (n,), for checked contexts, among those that ``mask`` (K,) allows; None allows all."""

    def _play(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
    ) -> IntArray:
        """Actions, () or (n,), that `act` picks under a checked mask, (K,) or a row a context, with plays pending."""
        return self._choose_allowed(self._choose_to_play, contexts, rng, mask)

    def _choose_to_play(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """As `_choose`, for `act` alone: it may consume draws that the agent keeps for its next choices."""
        return self._choose(contexts, rng, mask)

    @abstractmethod
    def _choose_greedily(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """Actions of the largest estimated mean, () or (n,), for checked contexts, among those that ``mask`` allows."""

    @abstractmethod
    def _learn(self, context: Array, action: int, reward: float) -> None:
        """Learn one checked observation."""

    def _learn_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Learn n checked observations, with the same result as one by one in their order."""
        for context, action, reward in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
            self._learn(context, action, reward)

    @abstractmethod
    def _forget(self) -> None:
        """Go back to the prior."""
