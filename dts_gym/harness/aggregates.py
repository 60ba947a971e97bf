"""Agents over many settings at once: interquartile means, performance profiles, probabilities of improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dts_gym.harness.experiment import Comparison, base_label
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import csv_text, data_frame
from dts_gym.utils.validation import did_you_mean, finite_array, fraction, integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TUNED = ", tuned"  # follows an agent's label where its exploration scale was tuned
Bounds = tuple[float, float, float]  # low end of an interval, value, high end


def aggregate(
    comparisons: Mapping[str, Comparison] | Sequence[Comparison],
    reference: str = "Random",
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Aggregates:
    """Put the results of several settings together, on regret relative to that of a reference.

    Parameters
    ----------
    comparisons : what `dts_gym.compare` or ``load_records`` returned, one for each setting (a *cell*); by name, or in
        order.
    reference : label of an agent that is in every cell. A run's relative regret is its final regret over the mean final
        regret of the reference in that cell: 1 is as bad as the reference, 0 is best.
    level : probability of the intervals.
    num_resamples : number of bootstrap samples for the intervals.
    seed : seed for the bootstrap.

    Returns
    -------
    Aggregates

    Raises
    ------
    ValueError
        If there is no cell, a cell lacks the reference, or the reference has no regret in it.

    Notes
    -----
    Every cell counts alike, however many runs it has. Intervals are percentiles of a stratified bootstrap: seeds are
    drawn with replacement within each cell, the same for all agents, since runs of one seed share the instance. They
    are given the reference's mean, and given the cells: they say nothing of other settings.

    Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (2021).

    Examples
    --------
    >>> import dts_gym
    >>> cells = {
    ...     f"{K} actions": dts_gym.compare(
    ...         "DiffusionBandit-v0", ["dTS", "Random"], seeds=3, num_rounds=50, env_settings={"num_actions": K}
    ...     )
    ...     for K in (5, 10)
    ... }
    >>> found = dts_gym.aggregate(cells)
    >>> low, value, high = found.interquartile_mean("dTS")
    >>> 0 < low <= value <= high < 1, found.improvement("dTS", "Random")[1] > 0.5
    (True, True)
    """
    if isinstance(comparisons, Mapping):
        named = dict(comparisons)
    else:
        named = {f"cell {number}": each for number, each in enumerate(comparisons)}
    if not named or not all(isinstance(each, Comparison) for each in named.values()):
        raise ValueError(f"comparisons must be a Comparison or more, got {comparisons!r:.200}")
    cells: dict[str, dict[str, Array]] = {}
    for cell, comparison in named.items():
        regrets = final_regrets(comparison)
        if reference not in regrets:
            near = did_you_mean(reference, regrets) if isinstance(reference, str) else ""
            raise ValueError(
                f"reference must be an agent of every cell, got {reference!r:.200}, which {cell} lacks: it has "
                f"{list(regrets)}{near}"
            )
        unit = float(regrets[reference].mean())
        if not unit > 0:
            raise ValueError(f"reference must have regret in every cell, got {unit:g} of {reference!r} in {cell}")
        cells[cell] = {agent: values / unit for agent, values in regrets.items()}
    return Aggregates(
        cells, reference, fraction("level", level), integer("num_resamples", num_resamples, 1), integer("seed", seed, 0)
    )


def final_regrets(comparison: Comparison) -> dict[str, Array]:
    """Final regret (n,) of every agent; one that was tuned has ``", tuned"`` behind its label at any scale."""
    if comparison.tuning is None:
        return {label: comparison.final_regret(label) for label in comparison.labels}
    found: dict[str, Array] = {}
    for spec in comparison.experiment.agents:
        base = base_label(spec)
        found[base if base == spec.label else base + TUNED] = comparison.final_regret(spec.label)
    for base in comparison.tuning.scales:  # whose own scale is the best one
        if base in found:
            found.setdefault(base + TUNED, found[base])
    return found


@dataclass(frozen=True, eq=False, repr=False)
class Aggregates(ShownTable):
    """Agents over several cells: prints as a table of interquartile means.

    Parameters
    ----------
    cells : cell -> agent -> (n,) relative regret of the runs, in the order of their seeds.
    reference : the agent whose mean is 1 in every cell.
    level : probability of the intervals.
    num_resamples : number of bootstrap samples.
    seed : seed for the bootstrap.
    """

    cells: Mapping[str, Mapping[str, Array]]
    reference: str
    level: float
    num_resamples: int
    seed: int

    @property
    def agents(self) -> list[str]:
        """The agents that are in every cell, so that they can be compared over all of them."""
        first, *others = self.cells.values()
        return [agent for agent in first if all(agent in cell for cell in others)]

    @property
    def left_out(self) -> dict[str, int]:
        """The agents that some cell lacks, with the number of cells that have them."""
        counts: dict[str, int] = {}
        for cell in self.cells.values():
            for agent in cell:
                counts[agent] = counts.get(agent, 0) + 1
        return {agent: count for agent, count in counts.items() if count < len(self.cells)}

    def interquartile_mean(self, agent: str) -> Bounds:
        """Mean of the middle half of an agent's relative regrets, between the ends of its interval.

        A quarter of the weight is left out at either end, with parts of runs where a quarter is not whole runs.
        """
        values, weights = self._of(agent)
        order = values.argsort(kind="stable")
        values, weights = values[order], weights[:, order]
        upper = weights.cumsum(axis=1)
        kept = np.clip(np.minimum(upper, 0.75) - np.maximum(upper - weights, 0.25), 0.0, None)
        return self._bounds(kept @ values / kept.sum(axis=1))

    def profile(self, agent: str, thresholds: Any) -> tuple[Array, Array, Array]:
        """Share of an agent's runs whose relative regret is at most each threshold, between ends of intervals.

        Parameters
        ----------
        agent : its label.
        thresholds : (t,) relative regrets.

        Returns
        -------
        (t,), (t,), (t,)
            Low ends, shares and high ends; each interval holds by itself.
        """
        values, weights = self._of(agent)
        reached = weights @ (values[:, None] <= finite_array("thresholds", thresholds, (None,)))
        low, high = self._ends(reached[1:])
        return low, np.asarray(reached[0]), high

    def improvement(self, agent: str, other: str) -> Bounds:
        """Probability that a run of an agent has less regret than one of another, ties a half; with its interval.

        The mean over the cells that have both of the share of all pairs of runs, of equal seeds or not.
        """
        have_both = [cell for cell, agents in self.cells.items() if agent in agents and other in agents]
        if not have_both:
            raise ValueError(f"agent and other must be in one cell, got {agent!r:.200} and {other!r:.200}")
        shares = np.zeros(self.num_resamples + 1)
        for cell in have_both:
            mine, theirs = self.cells[cell][agent], self.cells[cell][other]
            wins = (mine[:, None] < theirs) + 0.5 * (mine[:, None] == theirs)
            weights = self._weights[cell]
            shares += np.einsum("bi,ij,bj->b", weights, wins, weights, optimize=True)
        return self._bounds(shares / len(have_both))

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each run: "cell", "agent", "run" and "relative_regret".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        rows = [
            (cell, agent, run, value)
            for cell, agents in self.cells.items()
            for agent, values in agents.items()
            for run, value in enumerate(values.tolist())
        ]
        return data_frame(rows, ["cell", "agent", "run", "relative_regret"])

    def csv(self) -> str:
        """A row for each agent that is in every cell, with all digits."""
        names = ["agent", "interquartile_mean", "low", "high", "improvement", "improvement_low", "improvement_high"]
        rows = []
        for agent in self.agents:
            (low, mean, high), (less, share, most) = self._row(agent)
            rows.append([agent, mean, low, high, share, less, most])
        return csv_text(names, rows)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the performance profiles of the agents that are in every cell; returns the axes."""
        from dts_gym.harness.figures import plot_profiles

        return plot_profiles(self, axes)

    def _repr_table(self) -> Display:
        best = self._best()
        rows = [["agent", "interquartile mean", f"P(less regret than {best})"]]
        for agent in self.agents:
            mean, share = self._row(agent)
            rows.append([agent, _shown(mean), "" if agent == best else _shown(share)])
        title = (
            f"regret relative to {self.reference}'s over {len(self.cells)} cells, intervals at {self.level:.0%} by a "
            "bootstrap within cells"
        )
        lacking = [
            f"left out: {agent}, in {count} of {len(self.cells)} cells" for agent, count in self.left_out.items()
        ]
        return Display(title, rows, lacking)

    def _row(self, agent: str) -> tuple[Bounds, Bounds]:
        return self.interquartile_mean(agent), self.improvement(agent, self._best())

    def _best(self) -> str:
        return min(self.agents, key=lambda agent: self.interquartile_mean(agent)[1])

    @cached_property
    def _weights(self) -> dict[str, Array]:
        """(1 + B, n) weights of every cell's runs: equal ones, then those of each bootstrap sample."""
        rng, found = stream(self.seed, "report"), {}
        for cell, agents in self.cells.items():
            n = len(next(iter(agents.values())))
            counts = rng.multinomial(n, np.full(n, 1 / n), size=self.num_resamples)
            found[cell] = np.vstack([np.ones(n), counts]) / n
        return found

    def _of(self, agent: str) -> tuple[Array, Array]:
        """Relative regrets (N,) of an agent in all cells, and weights (1 + B, N), every cell's as large in sum."""
        if agent not in self.agents:
            raise ValueError(f"agent must be in every cell, as are {self.agents}, got {agent!r:.200}")
        weights = [each / len(self.cells) for each in self._weights.values()]
        return np.concatenate([agents[agent] for agents in self.cells.values()]), np.hstack(weights)

    def _bounds(self, values: Array) -> Bounds:
        """Interval of a value (1 + B,), of which the first is its estimate."""
        low, high = self._ends(values[1:])
        return float(low), float(values[0]), float(high)

    def _ends(self, samples: Array) -> tuple[Array, Array]:
        tail = (1.0 - self.level) / 2
        low, high = np.quantile(samples, [tail, 1.0 - tail], axis=0)
        return low, high


def _shown(bounds: Bounds) -> str:
    low, value, high = bounds
    return f"{value:.3f} ({low:.3f}, {high:.3f})"
