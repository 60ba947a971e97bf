"""The result of one run, or of the runs on a vector environment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dts_gym.harness.run_record import microseconds_a_round
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.shown import Shown
from dts_gym.utils.tables import data_frame, plus_minus, standard_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class RunResult(Shown):
    """One run of n rounds; on a vector environment N runs at once, all arrays then (N, n).

    Parameters
    ----------
    regret : (n,) cumulative regret after every round; NaN throughout where the environment reports none.
    rewards : (n,) reward of every round.
    actions : (n,) int64, action of every round.
    act_seconds, update_seconds : seconds that passed in `act` and `update` of the agent, or agents.
    cpu_seconds : CPU time of both, whatever else the machine does; NaN where it is not known.
    action_names : (K,) names of the problem's actions; None where it has none.
    """

    regret: Array
    rewards: Array
    actions: IntArray
    act_seconds: float
    update_seconds: float
    cpu_seconds: float = math.nan
    action_names: Sequence[str] | None = None

    @property
    def microseconds_per_round(self) -> float:
        """Microseconds of CPU time of the agent in a round of one instance, choosing and learning."""
        return microseconds_a_round(self.cpu_seconds, self.act_seconds + self.update_seconds, self.regret.size)

    def instance(self, i: int) -> RunResult:
        """The run of one instance of a vector environment; the time of a round is that of all, evenly divided."""
        N = len(self.regret)
        times = self.act_seconds / N, self.update_seconds / N, self.cpu_seconds / N
        return RunResult(self.regret[i], self.rewards[i], self.actions[i], *times, self.action_names)

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each round: "round", "action", "reward" and "regret" (cumulative).

        For a vector environment it has a row for each instance and round; "instance" is then its first column. Where
        the problem names its actions, "action_name" follows "action".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        instances, rounds = np.indices(np.atleast_2d(self.regret).shape).reshape(2, -1)
        columns: dict[str, Any] = {} if self.regret.ndim == 1 else {"instance": instances}
        columns |= {"round": rounds + 1, "action": self.actions.ravel()}
        if self.action_names is not None:
            columns["action_name"] = [self.action_names[a] for a in self.actions.ravel().tolist()]
        return data_frame({**columns, "reward": self.rewards.ravel(), "regret": self.regret.ravel()})

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw cumulative regret over rounds, or cumulative reward where the environment reports no regret.

        Parameters
        ----------
        axes : axes to draw on; None makes a figure with pyplot, which notebooks show by themselves.

        Returns
        -------
        Axes
            Of N instances the curve is their mean, in a band of one standard error.
        """
        from dts_gym.harness.figures import plot_run

        if np.isnan(self.regret).any():
            return plot_run(np.cumsum(self.rewards, axis=-1), "Cumulative reward", axes)
        return plot_run(self.regret, "Cumulative regret", axes)

    def _repr_facts(self) -> Mapping[str, Any]:
        regret = np.atleast_1d(self.regret[..., -1])
        text = plus_minus(float(regret.mean()), float(standard_error(regret)))
        return {
            "instances": len(self.regret) if self.regret.ndim == 2 else None,
            "rounds": self.regret.shape[-1],
            "regret": None if np.isnan(regret).any() else text if len(regret) > 1 else regret[0],
            "mean_reward": self.rewards.mean(),
            "microseconds_per_round": self.microseconds_per_round,
        }
