"""The runs of a rule: what only the harness sees of them, true scores and noise, and how a recommendation is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dts_gym.identification.agent_belief import AgentBelief
from dts_gym.identification.beliefs import Belief, ScoreBelief
from dts_gym.identification.best_action import are_best
from dts_gym.identification.rule import Rule, checked_actions
from dts_gym.identification.scores import ScorePrior, checked_context, drawn_instance, score_prior
from dts_gym.identification.settings import Posed
from dts_gym.identification.streams import RunStreams
from dts_gym.problem.problem import BanditInstance, BanditProblem, problem_of
from dts_gym.problem.wrappers import check_shown
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.seeding import stream

_JUDGED_CONTEXTS = 1000  # contexts over which a policy is judged


class Outcomes(NamedTuple):
    """The results of R runs.

    Attributes
    ----------
    recommendations : (R,) recommended actions; for a policy the one at the first judged context.
    simple_regrets : (R,) mean reward of the best action less the recommended one's; for a policy its mean.
    is_best : (R,) whether the best action, or one of equal best ones, is recommended; for a policy, at every judged
        context.
    counts : (R, K) number of rounds of every action.
    """

    recommendations: IntArray
    simple_regrets: Array
    is_best: BoolArray
    counts: IntArray


class Game(ABC):
    """Runs that advance together: their problem, the belief, the rules' random streams, and the hidden truth."""

    problem: BanditProblem  # that of the first run, where each has its own
    belief: Belief
    streams: RunStreams

    def check(self, rule: Rule, budget: int) -> None:  # noqa: B027 - a fixed context suits every rule
        """Raise ValueError for a rule or a budget that the runs cannot have."""

    @abstractmethod
    def pay(self, actions: IntArray) -> Array:
        """The rewards (R,) of this round's actions (R,); the next call is the next round."""

    def go_on(self) -> None:  # noqa: B027 - nothing changes at a fixed context
        """Show the next round's context to the belief."""

    @abstractmethod
    def judge(self, rule: Rule) -> Outcomes:
        """The results of what the rule recommends now."""


def play(game: Game, rule: Rule, budget: int) -> Outcomes:
    """Play a rule for ``budget`` rounds and judge its recommendations.

    Raises
    ------
    ValueError
        If the budget is smaller than the least one with which the rule works, contexts change and it needs one, or
        the rule chooses anything but an action for each run.
    """
    runs, K = game.belief.mean.shape
    least = rule.least_budget(K)
    if budget < least:
        raise ValueError(f"budget must be at least {least} for {rule} with {K} actions, got {budget}")
    game.check(rule, budget)
    rule.start(game.belief, budget, game.streams)
    for _ in range(budget):
        actions = checked_actions(f"{rule}.choose", rule.choose(game.belief, game.streams), runs, K)
        game.belief.update(actions, game.pay(actions))
        game.go_on()
    return game.judge(rule)


class ScoreGame(Game):
    """Runs at a fixed context: the truth is K scores.

    Parameters
    ----------
    scores : (R, K) linear predictors of the actions.
    belief : the belief before the first round.
    problem : the problem, or that of the first run where they differ in features or prior.
    seeds : the runs' seeds, for noise and rules.
    """

    def __init__(self, scores: Array, belief: Belief, problem: BanditProblem, seeds: Sequence[int]) -> None:
        self._scores, self.belief, self.problem, self._model = scores, belief, problem, problem.reward_model
        self.streams = RunStreams([stream(seed, "agent") for seed in seeds])
        self._noise = [stream(seed, "noise") for seed in seeds]

    def pay(self, actions: IntArray) -> Array:
        """Rewards whose noise in a round is the same whatever the action."""
        noise = np.concatenate([self._model.draw_noise(rng, (1,)) for rng in self._noise])
        return self._model.from_noise(noise, self._scores[np.arange(len(actions)), actions])

    def judge(self, rule: Rule) -> Outcomes:
        """The results, by expected rewards."""
        runs, K = self._scores.shape
        chosen = checked_actions(f"{rule}.recommend", rule.recommend(self.belief, self.streams), runs, K)
        expected = self._model.mean(self._scores)
        rows = np.arange(len(chosen))
        regrets = expected.max(axis=1) - expected[rows, chosen]
        return Outcomes(chosen, regrets, are_best(self._scores, chosen), self.belief.counts)


class PolicyGame(Game):
    """One run on an environment whose contexts change: a policy is recommended, the largest posterior mean's action.

    Parameters
    ----------
    env : an environment of this package.
    seed : seed of its reset, of the belief's draws and of the rule.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        self._env, self._seed, self.problem = env, seed, _problem(env)
        context, _ = env.reset(seed=seed)
        self.belief: AgentBelief = AgentBelief(self.problem, context, seed)
        self.streams = RunStreams([stream(seed, "agent")])

    def check(self, rule: Rule, budget: int) -> None:
        """Raise ValueError for a rule that plans for one context, or a budget beyond the horizon."""
        horizon = self.problem.horizon
        if rule.needs_one_context:
            raise ValueError(f"context must be given for {rule}, which plans for one, got contexts that change")
        if horizon is not None and budget > horizon:
            raise ValueError(f"budget must be at most the environment's horizon {horizon}, got {budget}")

    def pay(self, actions: IntArray) -> Array:
        """The environment's reward."""
        self._next, reward, *_ = self._env.step(int(actions[0]))
        return np.array([float(reward)])

    def go_on(self) -> None:
        """Show the environment's next context to the belief."""
        self.belief.context = self._next

    def judge(self, rule: Rule) -> Outcomes:
        """The policy's mean simple regret over 1000 contexts of their own."""
        source: Any = self._env.unwrapped
        instance: BanditInstance = source.instance
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(1,)))
        contexts = source.next_contexts(source.begin_episode(rng, None), _JUDGED_CONTEXTS).astype(np.float64)
        chosen = self.belief.means_at(contexts).argmax(axis=1)
        scores = instance.linear_predictors(contexts)
        expected = instance.reward_model.mean(scores)
        rows = np.arange(len(chosen))
        regret = (expected.max(axis=1) - expected[rows, chosen]).mean()
        best = bool(are_best(scores, chosen).all())
        return Outcomes(chosen[:1], np.array([regret]), np.array([best]), self.belief.counts)


def posed_game(posed: Sequence[Posed], seeds: Sequence[int]) -> ScoreGame:
    """Runs of problems at their fixed contexts; an instance that is not given is drawn from the prior by the seed."""
    instances = [
        drawn_instance(each.problem, stream(seed, "instance")) if each.instance is None else each.instance
        for each, seed in zip(posed, seeds, strict=True)
    ]
    return _score_game(posed, instances, seeds)


def env_game(env: gym.Env[Any, Any], seeds: Sequence[int], context: Array | None) -> Game:
    """Runs on an environment's instances: at ``context`` or at the context that its instances fix, else of policies.

    Raises
    ------
    ValueError
        If the environment is not one of this package, a wrapper shows other sizes than its problem has, or some of its
        actions are not allowed in some rounds.
    """
    source: Any = env.unwrapped
    problem = _problem(env)
    check_shown(env, problem)
    posed, instances = [], []
    for seed in seeds:
        _, info = env.reset(seed=seed)
        if "action_mask" in info:
            raise ValueError(
                "env must allow every action in every round, for the best of them to be found, got "
                f"{env!r:.200}, whose info has an action_mask"
            )
        fixed = source.instance.fixed_context if context is None else context
        if fixed is None:
            return PolicyGame(env, seed)
        posed.append(Posed(problem, checked_context(problem, fixed)))
        instances.append(source.instance)
    return _score_game(posed, instances, seeds)


def advance_together(posed: Posed) -> bool:
    """Whether runs of a problem advance together: where the belief about scores is exact."""
    return score_prior(posed.problem, posed.context) is not None


def _score_game(posed: Sequence[Posed], instances: Sequence[BanditInstance], seeds: Sequence[int]) -> ScoreGame:
    scores = np.stack([each.linear_predictors(at.context) for each, at in zip(instances, posed, strict=True)])
    problem, context = posed[0].problem, posed[0].context
    priors = [score_prior(each.problem, each.context) for each in posed]
    known = [prior for prior in priors if prior is not None]
    is_exact = len(known) == len(priors)
    belief: Belief = _stacked(known, problem) if is_exact else AgentBelief(problem, context, seeds[0])
    return ScoreGame(scores, belief, problem, seeds)


def _stacked(priors: Sequence[ScorePrior], problem: BanditProblem) -> ScoreBelief:
    mean, cov = (np.stack([prior[part] for prior in priors]) for part in (0, 1))
    noise_std = problem.reward_model.dispersion**0.5
    return ScoreBelief(mean, cov[:1] if (cov == cov[0]).all() else cov, noise_std)


def _problem(env: gym.Env[Any, Any]) -> BanditProblem:
    problem = problem_of(env)
    if problem is None or not hasattr(env.unwrapped, "next_contexts"):
        raise ValueError(f"env must be an environment of this package or derived from its BanditEnv, got {env!r:.200}")
    return problem
