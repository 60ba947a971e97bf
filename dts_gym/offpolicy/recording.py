"""Making a log: rounds that an agent plays, each with the probability of its action before it is learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from dts_gym.harness.masks import filled
from dts_gym.harness.runner import begin_run, check_sizes, horizon_of
from dts_gym.offpolicy.log import SUMS_TO_ONE, BanditLog
from dts_gym.offpolicy.policies import ask, checked_probabilities
from dts_gym.problem.action_names import ActionNames
from dts_gym.problem.problem import names_of, problem_of
from dts_gym.problem.unknown import UnknownReward
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, integer


def record(env: Any, agent: Any, num_rounds: int, seed: int | None = 0, learn: bool = True) -> BanditLog:
    """Let an agent or a policy play an environment, and log the rounds with their propensities.

    Parameters
    ----------
    env : an environment of this package or any other; it is reset first. Where its info has ``action_mask``, actions
        are picked among those, and the log has the masks.
    agent : an agent, or anything with ``action_probabilities(context) -> (K,)``, such as what `learn` returns.
    num_rounds : number of rounds; at most the horizon where the environment has one.
    seed : seed for the environment's reset, and for the picks from probabilities.
    learn : whether the agent learns each reward, after its propensity was taken.

    Returns
    -------
    BanditLog
        With the played action's propensities where the agent has ``act_with_probability``; else with those of every
        action, from which the action was picked.

    Raises
    ------
    ValueError
        If the agent cannot tell probabilities, or cannot learn although ``learn`` is true, or what it returns are no
        probabilities of the actions; the message names the round.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5, dim=3)
    >>> log = record(env, dts_gym.make_agent("Random", env, seed=0), num_rounds=20, learn=False)
    >>> len(log), log.adapted, bool(abs(log.played_propensities - 0.2).max() < 0.1)
    (20, False, True)
    """
    learn, count = boolean("learn", learn), integer("num_rounds", num_rounds, 1)
    if not any(hasattr(agent, name) for name in ("act_with_probability", "action_probabilities")):
        raise ValueError(f"agent must have act_with_probability or action_probabilities, got {agent!r:.200}")
    if learn and not hasattr(agent, "update"):
        raise ValueError(f"learn must be False for a policy that does not learn, got {agent!r:.200}")
    horizon = horizon_of(env)
    if horizon is not None and count > horizon:
        raise ValueError(f"num_rounds must be an integer in 1..{horizon}, the env's horizon, got {count}")
    check_sizes(env, agent)
    if learn:
        begin_run(agent, count)
    rng = stream(seed, "record")
    context, info = env.reset(seed=None if seed is None else integer("seed", seed, 0))
    rows: list[tuple[Any, int, float, Any, Any]] = []
    for t in range(count):
        mask = info.get("action_mask")
        action, probability = _played(agent, context, mask, rng, int(env.action_space.n), t)
        following, reward, terminated, truncated, info = env.step(action)
        rows.append((np.array(context), action, float(reward), probability, mask))
        if learn:
            agent.update(context, action, reward)
        if (terminated or truncated) and t + 1 < count:
            following, info = env.reset()
        context = following
    return _log_of(env, rows, learn and getattr(agent, "learns", True), names_of(env, agent))


def _played(agent: Any, context: Any, mask: Any, rng: np.random.Generator, num_actions: int, t: int) -> tuple[int, Any]:
    """An action of round t, and its probability or those of all actions, checked."""
    if hasattr(agent, "act_with_probability"):
        action, probability = agent.act_with_probability(context, mask=mask)
        if not 0 <= probability <= 1 + SUMS_TO_ONE:
            raise ValueError(
                f"agent.act_with_probability must return a probability in 0..1, got {probability!r:.200} for action "
                f"{action} in round {t}"
            )
        return int(action), float(probability)
    allowed = None if mask is None else np.asarray(mask, dtype=bool)
    given = ask(agent, context, allowed)
    p = checked_probabilities("agent.action_probabilities", given, (num_actions,), allowed, t)
    cumulative = p.cumsum()
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), p


def _log_of(
    env: Any, rows: list[tuple[Any, int, float, Any, Any]], adapted: bool, names: ActionNames | None
) -> BanditLog:
    contexts, actions, rewards, propensities, masks = zip(*rows, strict=True)
    problem = problem_of(env)
    every = filled(masks)
    every = None if every is None else every.astype(bool)
    model = None if problem is None or isinstance(problem.reward_model, UnknownReward) else problem.reward_model
    K = int(env.action_space.n)
    return BanditLog(
        np.array(contexts),
        np.array(actions),
        rewards,
        np.array(propensities),
        K,
        every,
        reward=model,
        action_names=names,
        adapted=adapted,
    )
