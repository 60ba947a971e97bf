"""What a run tells while it goes on: a round to a callback, and the metrics of an agent under stable names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import integer

_DRAWS = 256


@dataclass(frozen=True, eq=False, repr=False)
class Round(Shown):
    """One round of a run, after the agent has learned from it.

    Parameters
    ----------
    number : of the round, from 1.
    num_rounds : of the run.
    context, action, reward : what was shown, played and paid.
    regret : cumulative, this round's in it; NaN where the environment tells none.
    info : of the environment's step.
    env, agent : of the run. A callback may look at the agent, by `marginals` and `predict` for two, which change
        nothing of what it does next; if it teaches it, that is the run's result.
    """

    number: int
    num_rounds: int
    context: Any
    action: int
    reward: float
    regret: float
    info: dict[str, Any]
    env: Any
    agent: Any


class Callback(Protocol):
    """What `dts_gym.run` calls after every round: any function of a `Round`."""

    def __call__(self, played: Round, /) -> object:
        """Take notice of a round."""


def action_entropy(agent: Any, context: Any) -> float | None:
    """Entropy, in nats, of the action that an agent would play on a context.

    Parameters
    ----------
    agent : with ``predict``, whose stochastic actions have the law of `act`.
    context : one.

    Returns
    -------
    float or None
        None of an agent without ``predict``.

    Notes
    -----
    Estimated from 256 draws, by their frequencies with the correction of Miller and Madow; their stream is that of
    ``predict``, so that what the agent plays next does not change. Of few likely actions right on average, of many
    too low: 4.57 for 100 equally likely ones, in truth 4.61, and 5.52 for 400, in truth 5.99. Costs 256 choices.

    Source: Miller, "Note on the bias of information estimates" (1955).

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=4)
    >>> entropy = action_entropy(dts_gym.make_agent("Random", env, seed=0), env.reset(seed=0)[0])
    >>> abs(entropy - math.log(4)) < 0.05
    True
    """
    if not hasattr(agent, "predict"):
        return None
    actions, _ = agent.predict(np.repeat(np.asarray(context)[None], _DRAWS, axis=0), deterministic=False)
    frequencies = np.unique(actions, return_counts=True)[1] / _DRAWS
    plug_in = -float((frequencies * np.log(frequencies)).sum())
    return plug_in + (len(frequencies) - 1) / (2 * _DRAWS)


def posterior_width(agent: Any, context: Any) -> float | None:
    """Posterior standard deviation of ``x' theta`` on a context, the mean over all actions.

    Parameters
    ----------
    agent : with ``marginals``, which every agent with a posterior has.
    context : one.

    Returns
    -------
    float or None
        At the agent's exploration scale; None of an agent without ``marginals``.
    """
    return float(agent.marginals(context)[1].mean()) if hasattr(agent, "marginals") else None


class Metrics:
    """A callback that reports metrics of a run every so many rounds, and after the last.

    Parameters
    ----------
    report : called with the number of rounds played and a dict of what is known of:

        - ``regret``: cumulative;
        - ``reward``: mean reward of the rounds since the last report;
        - ``action_entropy``: see `action_entropy`, on this round's context;
        - ``posterior_width``: see `posterior_width`, on this round's context.

        These names stay. What an environment or agent does not tell is left out.
    every : rounds from one report to the next.

    Notes
    -----
    A run has the same actions and rewards with it as without. A round without a report costs an addition.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=10)
    >>> told = {}
    >>> metrics = Metrics(told.__setitem__, every=20)
    >>> result = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), 50, seed=0, callback=metrics)
    >>> list(told), list(told[50])
    ([20, 40, 50], ['regret', 'reward', 'action_entropy', 'posterior_width'])
    >>> bool(told[50]["regret"] == result.regret[-1])
    True
    """

    def __init__(self, report: Callable[[int, dict[str, float]], object], every: int = 100) -> None:
        if not callable(report):
            raise ValueError(f"report must be a function of a round's number and a dict, got {report!r:.200}")
        self._report = report
        self._every = integer("every", every, 1)
        self._rewards: list[float] = []

    def __call__(self, played: Round, /) -> None:
        """Take in a round; report where it is due."""
        if played.number == 1:
            self._rewards.clear()  # a run that was broken off leaves some
        self._rewards.append(played.reward)
        if played.number % self._every and played.number < played.num_rounds:
            return
        values = {
            "regret": None if math.isnan(played.regret) else played.regret,
            "reward": sum(self._rewards) / len(self._rewards),
            "action_entropy": action_entropy(played.agent, played.context),
            "posterior_width": posterior_width(played.agent, played.context),
        }
        self._rewards.clear()
        self._report(played.number, {name: value for name, value in values.items() if value is not None})
