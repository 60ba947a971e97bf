"""The description of an experiment, and its results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from dts_gym.harness.brackets import ScaleEnd, best_of, end_of, is_scale
from dts_gym.harness.code_state import UNKNOWN, distinct
from dts_gym.harness.run_record import RunRecord
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.extras import OPTIONAL_AGENTS
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import (
    Style,
    csv_text,
    data_frame,
    footnotes,
    layout,
    marked,
    mean_interval,
    plus_minus,
    standard_error,
)
from dts_gym.utils.validation import choice, integer, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Role = Literal["report", "tuning"]
_MAX_POINTS = 5000  # a longer curve is thinned: no figure shows more points, and 50 runs of 10^6 rounds would be 400 MB


@dataclass(frozen=True)
class AgentSpec:
    """An agent in an experiment.

    Parameters
    ----------
    id : as `dts_gym.agent_ids` lists; ``"module:Id"`` imports the module, which registers it, first.
    settings : arguments of the agent's constructor.
    label : the agent's name in tables and figures; made from id and settings if empty.

    Examples
    --------
    >>> AgentSpec("dTS", {"exploration": 0.25}).label
    'dTS (exploration 0.25)'
    """

    id: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        if taken := {"agent_id", "env_or_problem", "seed"} & set(self.settings):
            raise ValueError(f"settings must be the agent's own, got {sorted(taken)}, which an experiment sets")
        given = {name: plain(value) for name, value in dict(self.settings).items()}
        object.__setattr__(self, "label", self.label or label_of(self.id, given))
        usual = OPTIONAL_AGENTS.get(self.id, ("", {}))[1]  # which records name: it differs from the other package
        object.__setattr__(self, "settings", {**usual, **given})


def label_of(agent_id: str, settings: Mapping[str, Any]) -> str:
    """A readable name for an agent with settings."""
    return f"{agent_id} ({', '.join(f'{k} {_short(v)}' for k, v in settings.items())})" if settings else agent_id


def base_label(spec: AgentSpec) -> str:
    """An agent's label without its exploration scale; an exploration that is not a number stays in it.

    Examples
    --------
    >>> base_label(AgentSpec("dTS", {"branch": 1, "exploration": 0.25}))
    'dTS (branch 1)'
    >>> base_label(AgentSpec("dUCB", {"exploration": "horizon"}))
    'dUCB (exploration horizon)'
    """
    if not is_scale(exploration := spec.settings.get("exploration")):
        return spec.label
    if spec.label == label_of(spec.id, spec.settings):
        return label_of(spec.id, {name: value for name, value in spec.settings.items() if name != "exploration"})
    return spec.label.removesuffix(label_of("", {"exploration": exploration}))


def _short(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return str(value) if isinstance(value, str | int | float | None) else type(value).__name__


@dataclass(frozen=True)
class Experiment:
    """The description of an experiment, which runs every agent on every seed.

    Parameters
    ----------
    env_id : the environment's id in Gymnasium's registry.
    env_settings : arguments of ``gym.make``.
    agents : the agents, with different labels.
    seeds : the seeds; each agent has one run for each. Runs of one seed share the instance, the contexts and the noise.
    num_rounds : number of rounds of every run.
    role : "report" or "tuning"; no seed of one role leads to the same random streams as any seed of the other.
    redraw_prior : whether each seed has a prior of its own.
    tuning : for reported runs the grid and seeds of the tuning before them, and whether it brackets; for tuning runs
        the same with the grid that they start from; or None.
    auto_once : whether agents whose exploration is "auto" choose once, on the first seed's prior, not in every run.
    """

    env_id: str
    env_settings: Mapping[str, Any]
    agents: tuple[AgentSpec, ...]
    seeds: tuple[int, ...]
    num_rounds: int
    role: Role = "report"
    redraw_prior: bool = False
    tuning: Mapping[str, Any] | None = None
    auto_once: bool = False

    @property
    def tuned_before(self) -> bool:
        """Whether tuning comes before these runs."""
        return self.role == "report" and self.tuning is not None


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ShownTable):
    """Agents on the same instances: prints as a table with 95 % intervals, the differences paired by seed.

    Parameters
    ----------
    experiment : what was run; its agents in the order of tables and figures.
    runs : label -> records in the order of ``experiment.seeds``.
    tuning : the tuning before these runs, as a comparison of all exploration scales that were tried, or None.
    """

    experiment: Experiment
    runs: Mapping[str, tuple[RunRecord, ...]]
    tuning: Comparison | None = None

    @property
    def labels(self) -> list[str]:
        """Labels of the agents, in the order given."""
        return [spec.label for spec in self.experiment.agents]

    @property
    def rounds(self) -> IntArray:
        """(m,) rounds at which the curves are kept, counted from 1."""
        return kept_rounds(self.experiment.num_rounds)

    @property
    def base_labels(self) -> list[str]:
        """Labels of the agents without their exploration scale, in the order given."""
        return [base_label(spec) for spec in self.experiment.agents]

    def regret(self, label: str) -> Array:
        """(seeds, m) cumulative regret."""
        return np.stack([run.regret for run in self._of(label)])

    def final_regret(self, label: str) -> Array:
        """(seeds,) cumulative regret at the last round."""
        return np.array([run.regret[-1] for run in self._of(label)])

    def microseconds_per_round(self, label: str) -> Array:
        """(seeds,) microseconds of the agent in a round."""
        return np.array([run.microseconds_per_round for run in self._of(label)])

    @property
    def scales(self) -> dict[str, dict[float, Array]]:
        """For tuning runs: agent's label -> {exploration: (seeds,) final regret}, in the order tried."""
        found: dict[str, dict[float, Array]] = {}
        for spec in self.experiment.agents:
            tried = found.setdefault(base_label(spec), {})
            tried[float(spec.settings["exploration"])] = self.final_regret(spec.label)
        return found

    @property
    def ends(self) -> dict[str, ScaleEnd]:
        """Labels of runs at a best exploration scale that lies at an end of those tried in tuning."""
        tuning = self if self.experiment.role == "tuning" else self.tuning
        found: dict[str, ScaleEnd] = {}
        for base, regret in {} if tuning is None else tuning.scales.items():
            means = {scale: float(values.mean()) for scale, values in regret.items()}
            own = {s.label: s.settings.get("exploration") for s in self.experiment.agents if base_label(s) == base}
            best = [label for label, scale in own.items() if is_scale(scale) and scale == best_of(means)]
            # An agent whose own scale is the best one is reported without a tuned agent beside it.
            best = best or [label for label, scale in own.items() if scale is None]
            if end := end_of(means):
                found |= dict.fromkeys(best, end._replace(text=f"{base}: {end.text}"))
        return found

    @property
    def choices(self) -> list[str]:
        """A line for each agent that chose its exploration by itself: what, and in how many of its runs."""
        lines = []
        for label in self.labels:
            counts = Counter(run.exploration for run in self.runs[label] if run.exploration is not None)
            if counts:
                found = ", ".join(f"{rule} in {count}" for rule, count in counts.most_common())
                once = ", chosen once" if self.experiment.auto_once else ""
                lines.append(f"{label}: {found} of {len(self.runs[label])} runs{once}")
        return lines

    @property
    def states(self) -> list[dict[str, Any]]:
        """The different states of the code that made the runs and their tuning; one with None where not recorded."""
        own = (run.code or UNKNOWN for runs in self.runs.values() for run in runs)
        return distinct([*own, *(self.tuning.states if self.tuning is not None else [])])

    def to_pandas(self, over_rounds: bool = False) -> Any:
        """A pandas DataFrame with a row for each run, or for each run and round.

        Parameters
        ----------
        over_rounds : whether to give the curves: a row for each round that is kept.

        Returns
        -------
        DataFrame
            Columns "agent", "seed", "regret", "total_reward" and "microseconds_per_round"; or "agent", "seed", "round"
            and "regret" (cumulative).

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        runs = [(label, run) for label in self.labels for run in self.runs[label]]
        if over_rounds:
            curves = [(label, run.seed, *p) for label, run in runs for p in zip(run.rounds, run.regret, strict=True)]
            return data_frame(curves, ["agent", "seed", "round", "regret"])
        rows = [(label, r.seed, r.regret[-1], r.total_reward, r.microseconds_per_round) for label, r in runs]
        return data_frame(rows, ["agent", "seed", "regret", "total_reward", "microseconds_per_round"])

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw cumulative regret over rounds, as `dts_gym.figures.plot_regret` does; returns the axes."""
        from dts_gym.harness.figures import plot_regret

        return plot_regret(self, axes)

    def __str__(self) -> str:
        return table(self)

    def _repr_table(self) -> Display:
        asked, ends = self.experiment, self.ends
        title = f"{len(self.labels)} agents on {asked.env_id}: {asked.num_rounds} rounds, {len(asked.seeds)} seeds"
        rows = [["agent", "final regret", "95 % interval", f"more than {(self.labels or [''])[0]} (95 % interval)"]]
        for label in self.labels:
            regret = self.final_regret(label)
            low, mean, high = mean_interval(regret)
            interval = "" if math.isnan(low) else f"{low:.4g} to {high:.4g}"
            less, more, most = mean_interval(regret - self.final_regret(self.labels[0]))
            ends_of_more = "" if math.isnan(less) else f" ({less:.4g} to {most:.4g})"
            difference = "" if label == self.labels[0] else f"{more:.4g}{ends_of_more}"
            final = plus_minus(mean, float(standard_error(regret)))
            rows.append([marked(label, label in ends), final, interval, difference])
        return Display(title, rows, [*(end.text for end in ends.values()), *self.choices])

    def _of(self, label: str) -> tuple[RunRecord, ...]:
        if label not in self.runs:
            raise ValueError(f"label must be one of {self.labels}, got {label!r}")
        return self.runs[label]


def kept_rounds(num_rounds: int) -> IntArray:
    """Rounds at which a record keeps the curve: all of them up to 5000, else 5000 even steps with the last."""
    steps = min(n := integer("num_rounds", num_rounds, 1), _MAX_POINTS)
    return np.arange(1, steps + 1, dtype=np.int64) * n // steps


@dataclass(frozen=True)
class Row:
    """One agent's line of the table; regret is the mean over seeds, with its standard error.

    ``scale_end`` names the end of the scales tried at which a tuned exploration lies; empty where it lies inside.
    """

    agent: str
    regret: float
    standard_error: float
    microseconds_per_round: float
    seeds: int
    scale_end: str = ""


def summary(comparison: Comparison) -> list[Row]:
    """A row for each agent, in the order given."""
    rows, ends = [], comparison.ends
    for label in comparison.labels:
        regret, times = comparison.final_regret(label), comparison.microseconds_per_round(label)
        error, time = float(standard_error(regret)), float(times.mean())
        rows.append(Row(label, float(regret.mean()), error, time, len(regret), getattr(ends.get(label), "side", "")))
    return rows


def table(comparison: Comparison, style: Style = "text") -> str:
    """Format the final regret with standard error, the time of a round and the number of seeds of every agent.

    A tuned agent whose exploration scale is the best at an end of those tried is marked, with a line below the table.

    Parameters
    ----------
    comparison : what `compare` or `load_records` returned.
    style : "text" (aligned), "markdown", or "csv" (all digits; the mark is a column).

    Raises
    ------
    ValueError
        If there is no such style.
    """
    choice("style", style, get_args(Style))
    rows = summary(comparison)
    if style == "csv":
        names = ("agent", "regret", "standard_error", "microseconds_per_round", "seeds", "scale_end")
        return csv_text(names, [[getattr(row, name) for name in names] for row in rows])
    header = ("agent", "final regret", "µs a round", "seeds")
    cells = [
        (
            marked(row.agent, row.scale_end),
            plus_minus(row.regret, row.standard_error),
            f"{row.microseconds_per_round:.1f}",
            str(row.seeds),
        )
        for row in rows
    ]
    chosen = "".join(f"\n{line}\n" for line in comparison.choices)
    return layout([header, *cells], style) + footnotes(end.text for end in comparison.ends.values()) + chosen
