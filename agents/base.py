"""The template of every agent: what is checked, where randomness comes from, how a state is kept."""

from __future__ import annotations

import copy
import inspect
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, final, runtime_checkable

import numpy as np

from dts_gym.action_posterior import ActionPosterior
from dts_gym.agents.estimates import Estimates
from dts_gym.archives import read_archive, write_archive
from dts_gym.arrays import Array, BoolArray, IntArray, as_float64, finite_array, integer, integers, positive
from dts_gym.evidence import Dtype, checked_dtype
from dts_gym.laws import ActionLaws
from dts_gym.problem import BanditProblem, problem_from_state
from dts_gym.registry import agent_class, agent_ids
from dts_gym.rewards import GaussianReward, RewardModel
from dts_gym.seeding import restore, state_of, stream
from dts_gym.shared_parameter import SharedParameterPosterior
from dts_gym.unknown import UnknownReward

_STREAMS = ("act", "predict-greedy", "predict-draw", "parameters", "posterior")
_FORMAT = 1


class Agent(ABC):
    """A bandit agent: it picks actions for contexts and learns from rewards.

    Subclasses say how to choose, learn, forget and keep their state; this class checks input, owns the random
    streams and the files.

    Parameters
    ----------
    problem : what the agent may know of the bandit.
    seed : of all its random choices; None takes fresh entropy.
    settings : the subclass's other constructor arguments by name, as `load` passes them again.

    Attributes
    ----------
    problem : BanditProblem
    reward_model : RewardModel
        The law of rewards that the agent believes in.
    num_updates : int
        Observations learned since the last `reset`.
    """

    reward_model: RewardModel
    _intercept = False  # whether contexts get a trailing 1

    def __init__(self, problem: BanditProblem, *, seed: int | np.random.SeedSequence | None, **settings: Any) -> None:
        self.problem = checked_problem(problem)
        self._settings = settings
        self.reward_model = self._believed_rewards()
        self.reset(seed)

    @classmethod
    def from_env(cls, env: Any, *, seed: int | np.random.SeedSequence | None = None, **settings: Any) -> Self:
        """The agent for an environment's problem, ``env.unwrapped.problem``."""
        return cls(env.unwrapped.problem, seed=seed, **settings)

    @final
    def act(self, context: Any, mask: Any = None) -> int | IntArray:
        """Pick an action for every context.

        Parameters
        ----------
        context : (d,), or (n, d) for n contexts of one instance; with shared features (K, d) or (n, K, d).
        mask : (K,) booleans, the actions that may be picked now, or (n, K), a row for each of n contexts; None allows
            all. It conditions nothing: the agent picks the best allowed action, by the draw that it would have had of
            all of them.

        Returns
        -------
        int or (n,) ints
            Each row has an independent posterior draw where the agent draws.

        Raises
        ------
        ValueError
            If the shape does not fit the problem, a value is not finite, or a mask allows no action.

        Notes
        -----
        A mask costs O(K), a mask for each row a choice for each row.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinTS", BanditProblem(3, 2, random_linear_prior(2, 1), GaussianReward()), seed=0)
        >>> agent.act([0.5, 1.0], mask=[False, True, False])
        1
        """
        x = self._check_context(context)
        chosen = self._choose_allowed(x, self._rngs["act"], self._check_mask(mask, x))
        return int(chosen) if self._is_single(x) else chosen

    @final
    def action_probabilities(self, context: Any, num_draws: int = 1000, mask: Any = None) -> Array:
        """How often `act` would pick each action, by repeated draws: of a policy's log, for off-policy estimates.

        Parameters
        ----------
        context, mask : as `act` takes them.
        num_draws : of each context.

        Returns
        -------
        (K,), or (n, K)
            Shares of the draws: a probability p is off by ``sqrt(p (1 - p) / num_draws)``, and small ones come as 0.

        Raises
        ------
        ValueError
            As `act`, or if ``num_draws`` is no positive integer.

        Notes
        -----
        As many choices as draws. They are from the stream of `predict`, which moves on; what `act` does next stays as
        it is.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinUCB", BanditProblem(2, 1, random_linear_prior(1, 1), GaussianReward()), seed=0)
        >>> agent.update([[1.0]] * 2, [0, 1], [2.0, -2.0])
        >>> agent.action_probabilities([1.0])
        array([1., 0.])
        """
        x = self._check_context(context)
        allowed = self._check_mask(mask, x)
        count, K = integer("num_draws", num_draws, 1), self.problem.num_actions
        single = self._is_single(x)
        shares = np.empty((1 if single else len(x), K))
        for i, row in enumerate(x[None] if single else x):
            one = allowed[i] if allowed is not None and allowed.ndim == 2 else allowed
            draws = self._choose_allowed(np.broadcast_to(row, (count, *row.shape)), self._rngs["predict-draw"], one)
            shares[i] = np.bincount(draws, minlength=K) / count
        return shares[0] if single else shares

    @final
    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Learn from rewards; everything is checked before anything changes.

        A batch teaches what its rows teach one by one, in their order, to rounding; where the posterior has a closed
        form for Gaussian rewards (`TwoLevelPosterior`) in one pass of array operations, else in a loop.

        Rewards may come late and rounds may be another policy's: what is learned hangs on the rounds alone, not on what
        the agent did meanwhile, so a log of past rounds is a warm start. Nor does their order matter, to rounding,
        where the posterior has a closed form; expansions and tangents are sought when an action is played, so there it
        does: on perceptrons means move by some 0.1 posterior standard deviations (root mean square), as much as they
        are off anyway.

        Parameters
        ----------
        context : as `act` takes it.
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
            y = self.reward_model.check(_scalar("reward", reward))
            self._learn(x, a, y)
            self.num_updates += 1
            return
        actions = integers("action", action, len(x), self.problem.num_actions)
        rewards = finite_array("reward", reward, (len(x),))
        checked = np.array([self.reward_model.check(y) for y in rewards.tolist()])
        before = self._state() if self._may_refuse() else None  # then none of the batch is learned
        try:
            self._learn_all(x, actions, checked)
        except ValueError:
            if before is not None:
                self._forget()
                self._restore(before)
            raise
        self.num_updates += len(x)

    @final
    def predict(
        self,
        observation: Any,
        state: tuple[Any, ...] | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[IntArray, tuple[Any, ...] | None]:
        """Actions as a stable-baselines3 policy gives them; never learns, and never moves the stream of `act`.

        Parameters
        ----------
        observation : as `act` takes it.
        state, episode_start : recurrent policies' arguments; ``state`` is handed back.
        deterministic : True: greedy on the posterior mean, of tied actions the lowest-numbered; False: the law of
            `act`, from a stream of its own.

        Returns
        -------
        ndarray of ints () or (n,), state
        """
        x = self._check_context(observation)
        if deterministic:
            return np.asarray(self._choose_greedily(x, self._rngs["predict-greedy"])), state
        return np.asarray(self._choose(x, self._rngs["predict-draw"], None)), state

    @final
    def reset(self, seed: int | np.random.SeedSequence | None = None) -> None:
        """Forget everything learned and start all random streams from ``seed`` (None: fresh entropy)."""
        # One root for all streams: with None each purpose would take entropy of its own, and none be told again.
        root = seed if seed is not None else np.random.SeedSequence()
        self._rngs = {name: stream(root, name) for name in _STREAMS}
        self.num_updates = 0
        self._forget()

    @final
    def spawn(self, count: int) -> list[Self]:
        """``count`` fresh agents of this one's problem and settings, one an instance of a vector environment.

        Their streams are apart from each other and hang on where this agent's stream of `act` stands, which does not
        move: asked again, the same agents come, and fewer are the first of more.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinTS", BanditProblem(50, 2, random_linear_prior(2, 1), GaussianReward()), seed=0)
        >>> [one.act([0.5, 1.0]) for one in agent.spawn(3)] == [one.act([0.5, 1.0]) for one in agent.spawn(3)]
        True
        """
        words = copy.deepcopy(self._rngs["act"]).integers(0, 1 << 32, (integer("count", count, 1), 4))
        agents = [self._fresh(index) for index in range(count)]
        for agent, row in zip(agents, words.tolist(), strict=True):
            agent.reset(np.random.SeedSequence(row))
        return agents

    @final
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the agent, its problem and its random streams to one .npz without pickle, under exactly ``path``."""
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
        }
        write_archive(path, arrays, settings)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The agent that `save` wrote; it continues bit for bit.

        ``dts_gym.agents.Agent.load`` takes a file of any registered agent.

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
            for name in _STREAMS:
                restore(agent._rngs[name], saved["streams"][name])
            agent.num_updates = integer("num_updates", saved["num_updates"], 0)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            name = kind.__name__
            raise ValueError(f"path must be a whole file of {name}, got {os.fspath(path)!r}: {error}") from error
        return agent

    @classmethod
    def _rebuild(cls, problem: BanditProblem, settings: Mapping[str, Any], state: Mapping[str, Any]) -> Self:
        """A fresh agent with saved settings."""
        return cls(problem, seed=0, **settings)

    def _fresh(self, index: int) -> Self:
        """An agent as this one was made, for instance ``index`` of those that `spawn` is asked for."""
        return self._rebuild(self.problem, self._settings, self._state())

    def _believed_rewards(self) -> RewardModel:
        return self.problem.reward_model

    def _check_context(self, context: Any) -> Array:
        shape = self.problem.context_shape
        x = as_float64("context", context)
        if x.shape != shape and x.shape[1:] != shape:
            raise ValueError(f"context must have shape {shape} or (n, {str(shape)[1:]}, got shape {x.shape}")
        flat = x.ravel()
        # A finite sum of squares proves that all are finite; the slow look is for the others.
        with np.errstate(over="ignore"):
            norm = flat.dot(flat)
        if not math.isfinite(norm):
            if not np.isfinite(flat).all():
                raise ValueError(f"context must be finite, got {flat[~np.isfinite(flat)][0]} among its values")
            raise ValueError(f"context must have a finite squared norm, got {np.abs(flat).max()} among its values")
        return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1) if self._intercept else x

    def _may_refuse(self) -> bool:
        """Whether `_learn` can raise ValueError: rewards that are expanded may be too large in what they add up to."""
        return not isinstance(self.reward_model, GaussianReward)

    def _is_single(self, contexts: Array) -> bool:
        """Whether checked contexts are one, not a batch."""
        return contexts.ndim == len(self.problem.context_shape)

    def _check_mask(self, mask: Any, contexts: Array) -> BoolArray | None:
        """``mask`` for checked contexts; None where it allows all."""
        if mask is None:
            return None
        K = self.problem.num_actions
        rows = "" if self._is_single(contexts) else f" or ({len(contexts)}, {K})"
        try:
            allowed = np.asarray(mask)
        except ValueError as error:  # rows of different lengths
            raise ValueError(f"mask must be booleans of shape ({K},){rows}, got {mask!r:.200}") from error
        if allowed.dtype != np.bool_ or (allowed.shape != (K,) and (not rows or allowed.shape != (len(contexts), K))):
            raise ValueError(
                f"mask must be booleans of shape ({K},){rows}, got shape {allowed.shape} of {allowed.dtype}"
            )
        if not allowed.any(axis=-1).all():
            row = f" in row {int(allowed.any(axis=-1).argmin())}" if allowed.ndim == 2 else ""
            raise ValueError(f"mask must allow an action or more, got none{row}")
        return None if allowed.all() else allowed

    def _choose_allowed(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """Actions, () or (n,), for a checked mask, (K,) or a row a context."""
        if mask is None or mask.ndim == 1:
            return self._choose(contexts, rng, mask)
        rows = [self._choose(x, rng, None if one.all() else one) for x, one in zip(contexts, mask, strict=True)]
        return np.array(rows, dtype=np.int64)

    @abstractmethod
    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """Actions, () or (n,), for checked contexts, among those that ``mask`` (K,) allows; None allows all."""

    @abstractmethod
    def _choose_greedily(self, contexts: Array, rng: np.random.Generator) -> IntArray:
        """Actions of the largest estimated mean, () or (n,), for checked contexts."""

    @abstractmethod
    def _learn(self, context: Array, action: int, reward: float) -> None:
        """Take in one checked observation."""

    def _learn_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Take in n checked observations: as one by one, in their order."""
        for context, action, reward in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
            self._learn(context, action, reward)

    @abstractmethod
    def _forget(self) -> None:
        """Go back to the prior."""

    @abstractmethod
    def _state(self) -> Mapping[str, Array | IntArray]:
        """Arrays from which `_restore` continues bit for bit."""

    @abstractmethod
    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `_state` gave."""


class Posterior(Protocol):
    """What an agent asks of a posterior; contexts are as the problem has them, scale is the exploration scale."""

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float, mask: BoolArray | None = None
    ) -> IntArray:
        """Best actions under posterior draws, of those that ``mask`` (K,) allows."""

    def greedy(self, contexts: Array, mask: BoolArray | None = None) -> IntArray:
        """Allowed actions of the largest posterior mean."""

    def sample_parameters(self, rng: np.random.Generator, scale: float, size: int | None = None) -> Array:
        """Posterior draws, one (K, d) or ``size`` of them (size, K, d)."""

    def moments(self, scale: float) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d)."""

    def laws(self, contexts: Array, scale: float) -> ActionLaws:
        """Posterior laws of every action's ``x' theta``, for n contexts."""

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Take over what `state` gave."""


@runtime_checkable
class BatchPosterior(Protocol):
    """A posterior that takes in n rewards in one pass."""

    def update_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Condition on n rewards: (n, d), (n,) and (n,)."""


class ConfidencePosterior(Posterior, Protocol):
    """A posterior that also knows how far its means may be off."""

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed actions of the largest mean plus ``scale`` standard deviations."""


P = TypeVar("P", bound=Posterior)


def posterior_for(problem: BanditProblem, make: Callable[[int], ActionPosterior]) -> ConfidencePosterior:
    """The posterior that ``make`` gives for a number of actions, fit for the problem's features.

    Where all actions share a parameter, it is that of a single action, asked about all features.
    """
    if problem.features == "disjoint":
        return make(problem.num_actions)
    return SharedParameterPosterior(make(1))


class ModelAgent(Agent, Estimates, Generic[P]):
    """An agent that learns a posterior of all actions' parameters; subclasses say which, and how to choose by it."""

    _posterior: P

    @abstractmethod
    def _make_posterior(self) -> P:
        """The posterior before any data."""

    def _forget(self) -> None:
        self._posterior = self._make_posterior()

    def _learn(self, context: Array, action: int, reward: float) -> None:
        self._posterior.update(context, action, reward)

    def _learn_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        if isinstance(self._posterior, BatchPosterior):
            self._posterior.update_all(contexts, actions, rewards)
        else:
            super()._learn_all(contexts, actions, rewards)

    def _choose_greedily(self, contexts: Array, rng: np.random.Generator) -> IntArray:
        return self._posterior.greedy(contexts)

    def _state(self) -> Mapping[str, Array | IntArray]:
        return self._posterior.state()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._posterior.restore(dict(state))


class PosteriorAgent(ModelAgent[P]):
    """An agent with a posterior that it draws from, or takes bounds of, at an exploration scale.

    Parameters
    ----------
    problem, seed : as `Agent`.
    exploration : every posterior standard deviation is multiplied by it; 1 is the Bayesian answer.
    noise_std : standard deviation of the Gaussian rewards believed in; None takes the problem's.
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: int | np.random.SeedSequence | None,
        exploration: float,
        noise_std: float | None,
        **settings: Any,
    ) -> None:
        if noise_std is None and isinstance(checked_problem(problem).reward_model, UnknownReward):
            UnknownReward.refuse()
        self.exploration = positive("exploration", exploration)
        self._noise_std = None if noise_std is None else positive("noise_std", noise_std)
        if self._noise_std is not None:
            settings["noise_std"] = self._noise_std
        super().__init__(problem, seed=seed, exploration=self.exploration, **settings)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the rewards that the agent believes in."""
        assert isinstance(self.reward_model, GaussianReward)
        return self.reward_model.noise_std

    def sample_parameters(self, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, (K, d), or (d,) of the one that they share: for small K.

        Parameters
        ----------
        size : n independent draws, (n, K, d) or (n, d), where a chain of many levels is not much dearer than for one;
            None: one draw, without the leading axis.

        Notes
        -----
        As exact as the agent; its stream is its own.
        """
        count = None if size is None else integer("size", size, 1)
        return self._posterior.sample_parameters(self._rngs["parameters"], self.exploration, count)

    def moments(self) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major; (d,) and (d, d) of a shared parameter.

        As exact as the agent; for small K.
        """
        return self._posterior.moments(self.exploration)

    @property
    def _beliefs(self) -> tuple[Posterior, RewardModel, float]:
        return self._posterior, self.reward_model, self.exploration

    def _believed_rewards(self) -> RewardModel:
        if self._noise_std is not None:
            return GaussianReward(self._noise_std)
        if not isinstance(self.problem.reward_model, GaussianReward):
            raise ValueError(
                f"noise_std must be given where the rewards are not Gaussian: {type(self).__name__} believes in "
                f"Gaussian rewards, the problem has {self.problem.reward_model!r}"
            )
        return self.problem.reward_model


def checked_problem(value: Any) -> BanditProblem:
    """``value`` as a BanditProblem, or ValueError."""
    if not isinstance(value, BanditProblem):
        raise ValueError(f"problem must be a BanditProblem, got {value!r:.200}")
    return value


def disjoint_problem(agent: str, value: Any) -> BanditProblem:
    """``value`` as a BanditProblem with parameters for every action, or ValueError."""
    problem = checked_problem(value)
    if problem.features != "disjoint":
        raise ValueError(f"problem must have disjoint features for {agent}, got {problem.features!r} ones")
    return problem


def disjoint_dtype(problem: BanditProblem, value: Any) -> Dtype:
    """``value``, the precision of the actions' matrices, where every action has one; or ValueError."""
    dtype = checked_dtype(value)
    if dtype != "float64" and checked_problem(problem).features != "disjoint":
        raise ValueError(f"dtype must be 'float64' where all actions share a parameter, got {dtype!r}")
    return dtype


def _scalar(name: str, value: Any) -> Any:
    """``value`` without its array, where it is one of a single number without axes."""
    if isinstance(value, np.ndarray):
        if value.ndim:
            raise ValueError(f"{name} must be a number, got an array of shape {value.shape}")
        return value[()]
    return value
