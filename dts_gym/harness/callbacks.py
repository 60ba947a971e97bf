"""Reports from a run in progress: each round goes to a callback, and an agent's metrics have stable names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dts_gym.problem.problem import names_of
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import as_float64, integer

_DRAWS = 256


@dataclass(frozen=True, eq=False, repr=False)
class Round(Shown):
    """One round of a run, after the agent has learned from it.

    Parameters
    ----------
    number : number of the round, from 1.
    num_rounds : number of rounds of the run.
    context, action, reward : the context shown, the action played and the reward received.
    regret : cumulative regret, including this round's; NaN where the environment does not report regret.
    info : the info of the environment's step.
    env, agent : the run's environment and agent. A callback may read the agent, for example by `marginals` or
        `predict`, which do not change what it does next; a callback that makes the agent learn changes the run's
        result.
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

    @property
    def action_name(self) -> str | None:
        """Name of the action played; None where the problem names no actions."""
        names = names_of(self.env, self.agent)
        return None if names is None else names[self.action]

    def _repr_facts(self) -> dict[str, Any]:
        return {**super()._repr_facts(), "action_name": self.action_name}


class Callback(Protocol):
    """A function that `dts_gym.run` calls with a `Round` after every round."""

    def __call__(self, played: Round, /) -> object:
        """Receive one round."""


def action_entropy(agent: Any, context: Any) -> float | None:
    """Entropy, in nats, of the action that an agent would play on a context.

    Parameters
    ----------
    agent : an agent with ``predict``, whose stochastic actions have the distribution of `act`.
    context : one context.

    Returns
    -------
    float or None
        None for an agent without ``predict``.

    Notes
    -----
    Estimated from 256 draws, by their frequencies with the correction of Miller and Madow; their
    stream is that of ``predict``, so that what the agent plays next does not change. The estimate is unbiased for few
    likely actions and too low for many: 4.57 for 100 equally likely ones (the truth is 4.61) and 5.52 for 400 (the
    truth is 5.99). It costs 256 choices.

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
    actions, _ = agent.predict(np.repeat(as_float64("context", context)[None], _DRAWS, axis=0), deterministic=False)
    frequencies = np.unique(actions, return_counts=True)[1] / _DRAWS
    plug_in = -float((frequencies * np.log(frequencies)).sum())
    return plug_in + (len(frequencies) - 1) / (2 * _DRAWS)


def posterior_width(agent: Any, context: Any) -> float | None:
    """Posterior standard deviation of ``x' theta`` on a context, the mean over all actions.

    Parameters
    ----------
    agent : an agent with ``marginals``, which every agent with a posterior has.
    context : one context.

    Returns
    -------
    float or None
        The mean at the agent's exploration scale; None for an agent without ``marginals``.
    """
    return float(agent.marginals(context)[1].mean()) if hasattr(agent, "marginals") else None


class Metrics:
    """A callback that reports metrics of a run every ``every`` rounds, and after the last.

    Parameters
    ----------
    report : function called with the number of rounds played and a dict of these metrics, as far as they are known:

        - ``regret``: cumulative regret;
        - ``reward``: mean reward of the rounds since the last report;
        - ``action_entropy``: see `action_entropy`, on this round's context;
        - ``posterior_width``: see `posterior_width`, on this round's context.

        These names are stable. A metric that an environment or agent does not report is left out.
    every : number of rounds from one report to the next.

    Notes
    -----
    A run has the same actions and rewards with this callback as without it. A round without a report costs an addition.

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
        """Record one round, and report if a report is due."""
        if played.number == 1:
            self._rewards.clear()  # a run that was interrupted may have left some
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
