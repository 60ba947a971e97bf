"""Errors of posterior draws as a table, as a verdict in words, and as a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dts_gym.diagnostics.error_problems import METHODS
from dts_gym.diagnostics.error_records import CONTROL, ErrorRecord, PosteriorErrors
from dts_gym.harness.figures import COLOURS
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.tables import Style, layout, plus_minus, standard_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Grade = Literal["floor", "close", "off", "no truth"]

# By chance alone a distance exceeds this z-score once in 300 000.
_APART = 4.5
# The largest error of a mean, in standard deviations of the truth, and relative error of a covariance, graded "close".
_CLOSE = 0.25


@dataclass(frozen=True)
class ErrorSummary:
    """One method after one number of observations of one problem: means over histories, with their standard errors.

    Attributes
    ----------
    mean_error, covariance_error, energy : the fields of `ErrorRecord`, as (mean, standard error).
    noise_floor : root mean square of ``energy`` under draws of the truth.
    z_score : score of ``energy``: the sum of the histories' scores over the root of their number.
    sampler : source of the truth.
    r_hat, effective_draws : the worst values over the histories.
    mean_excess, covariance_excess : the errors beyond chance: roots of mean squares minus the control's.
    grade : "floor" where ``z_score`` does not distinguish the draws from the truth's, "close" where it does but neither
        excess is above a quarter, else "off"; "no truth" where one of the truths is not reliable.
    """

    problem: str
    observations: int
    method: str
    histories: int
    mean_error: tuple[float, float]
    covariance_error: tuple[float, float]
    energy: tuple[float, float]
    noise_floor: float
    z_score: float
    sampler: str
    r_hat: float
    effective_draws: float
    mean_excess: float
    covariance_excess: float
    grade: Grade


def summarise(errors: PosteriorErrors) -> list[ErrorSummary]:
    """A summary for each problem, number of observations and method, in that order; the control comes first."""
    cells: dict[tuple[str, int, str], list[ErrorRecord]] = {}
    for record in errors.records:
        cells.setdefault((record.problem, record.observations, record.method), []).append(record)
    return [_summary(records, cells[problem, n, CONTROL]) for (problem, n, _), records in cells.items()]


def error_table(errors: PosteriorErrors, style: Style = "text") -> str:
    """Errors of every method, means over histories with their standard errors; ``!`` marks an unreliable truth.

    Parameters
    ----------
    errors : result of `posterior_error`.
    style : "text" or "markdown".
    """
    return layout(error_rows(errors), style)


def error_rows(errors: PosteriorErrors) -> list[Sequence[str]]:
    """Rows of the table, the first one the header."""
    header = ("problem", "n", "method", "mean error", "cov. error", "energy distance", "floor", "z", "truth", "grade")
    rows = [
        (
            row.problem,
            str(row.observations),
            row.method,
            plus_minus(*row.mean_error) if row.histories > 1 else f"{row.mean_error[0]:.3f}",
            plus_minus(*row.covariance_error) if row.histories > 1 else f"{row.covariance_error[0]:.3f}",
            plus_minus(*row.energy) if row.histories > 1 else f"{row.energy[0]:.4f}",
            f"{row.noise_floor:.4f}",
            f"{row.z_score:.1f}",
            _truth(row) + ("!" if row.grade == "no truth" else ""),
            row.grade,
        )
        for row in summarise(errors)
    ]
    return [header, *rows]


def verdict(errors: PosteriorErrors) -> str:
    """Which method is safe where, by the numbers alone."""
    rows = [row for row in summarise(errors) if row.method != CONTROL]
    settings = errors.settings
    lines = [
        f"Over {len(settings.seeds)} histories, {settings.draws} draws each. Floor: not distinguishable from the "
        f"truth's draws (z < {_APART}).",
        f"Close: distinguishable, but beyond chance the mean is off by at most {_CLOSE} standard deviations and the",
        "covariance by at most that share. Off: one is off by more, see the number in brackets.",
    ]
    safe: dict[str, list[str]] = {}
    for problem in settings.problems:
        lines.append(f"{problem}:")
        own = [row for row in rows if row.problem == problem]
        for method in dict.fromkeys(row.method for row in own):
            cells = [row for row in own if row.method == method]
            lines.append(f"  {method}: {_by_grade(cells)}")
            if all(row.grade in ("floor", "close") for row in cells):
                safe.setdefault(problem, []).append(method)
    lines.append("Safe, at the floor or close at every n:")
    lines += [f"  {problem}: {', '.join(safe.get(problem, ['none']))}" for problem in settings.problems]
    return "\n".join(lines) + "\n"


def error_figure(errors: PosteriorErrors, path: str | os.PathLike[str]) -> None:
    """Draw the energy distance against the number of observations, both on log scales, a panel for each problem.

    Parameters
    ----------
    errors : result of `posterior_error`.
    path : file of the PNG; its folder must exist.

    Notes
    -----
    The grey band is the noise floor of a mean over the histories. Distances are unbiased, so those of exact draws are
    negative about as often as positive: distances below the band's middle are drawn at it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, problems = summarise(errors), errors.settings.problems
    columns = min(len(problems), 3)
    lines = math.ceil(len(problems) / columns)
    figure = Figure(figsize=(1.5 + 3.6 * columns, 0.9 + 3.1 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False)
    found = {row.method for row in rows}
    methods = [method.label for method in METHODS if method.label in found]
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(methods)}
    bottom = min(row.noise_floor for row in rows) / 4.0
    for place, axes in enumerate(grid.flat):
        if place < len(problems):
            _panel(axes, [row for row in rows if row.problem == problems[place]], colours, bottom)
            axes.set_title(problems[place])
        else:
            axes.set_axis_off()
    figure.supxlabel("Observations")
    figure.supylabel("Energy distance to the true posterior")
    handles = {label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels())}  # noqa: B905
    names = [*methods, "noise floor"]
    figure.legend([handles[name] for name in names], names, frameon=False, loc="outside right center")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def _panel(axes: Axes, rows: list[ErrorSummary], colours: dict[str, str], bottom: float) -> None:
    control = [row for row in rows if row.method == CONTROL]
    n = np.array([row.observations for row in control], dtype=np.float64)
    floor = np.array([row.noise_floor for row in control])
    band = np.array([0.9, 1.1]) * n if len(n) == 1 else n  # a single length also needs a band of some width
    axes.fill_between(band, bottom, np.broadcast_to(floor, band.shape), color="0.85", linewidth=0, label="noise floor")
    middle = np.sqrt(floor * bottom)
    for method in dict.fromkeys(row.method for row in rows if row.method != CONTROL):
        own = [row for row in rows if row.method == method]
        mean, error = (np.array(part) for part in zip(*(row.energy for row in own), strict=True))
        low, high = (np.maximum(part, middle) for part in (mean - error, mean + error))
        line = dict(color=colours[method], linewidth=1.6, marker="o", markersize=4, label=method)
        axes.plot(n, np.maximum(mean, middle), **line)  # type: ignore[arg-type]
        if np.isfinite(error).all():
            axes.fill_between(n, low, high, color=colours[method], alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=bottom)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _summary(records: list[ErrorRecord], control: list[ErrorRecord]) -> ErrorSummary:
    H, first = len(records), records[0]
    z = sum(record.z_score for record in records) / math.sqrt(H)
    mean_excess = _excess([r.mean_error for r in records], [r.mean_error for r in control])
    covariance_excess = _excess([r.covariance_error for r in records], [r.covariance_error for r in control])
    grade: Grade = "close" if max(mean_excess, covariance_excess) <= _CLOSE else "off"
    if not all(record.trusted for record in records):
        grade = "no truth"
    elif z < _APART:
        grade = "floor"
    return ErrorSummary(
        problem=first.problem,
        observations=first.observations,
        method=first.method,
        histories=H,
        mean_error=_mean([record.mean_error for record in records]),
        covariance_error=_mean([record.covariance_error for record in records]),
        energy=_mean([record.energy for record in records]),
        noise_floor=math.sqrt(sum(record.noise_floor**2 for record in records)) / H,
        z_score=z,
        sampler=first.sampler,
        r_hat=max(record.r_hat for record in records),
        effective_draws=min(record.effective_draws for record in records),
        mean_excess=mean_excess,
        covariance_excess=covariance_excess,
        grade=grade,
    )


def _truth(row: ErrorSummary) -> str:
    """The truth's sampler with the number that measures its reliability."""
    if row.sampler == "chains":
        return f"chains, R-hat {row.r_hat:.3f}"
    return f"pool, ESS {row.effective_draws:.0f}" if row.sampler == "pool" else row.sampler


def _mean(values: list[float]) -> tuple[float, float]:
    array: Array = np.array(values)
    return float(array.mean()), float(standard_error(array))


def _excess(errors: list[float], control: list[float]) -> float:
    """A root mean square error without the part that is due to chance."""
    return math.sqrt(max(float(np.square(errors).mean() - np.square(control).mean()), 0.0))


def _by_grade(cells: list[ErrorSummary]) -> str:
    """Grades with the numbers of observations that have them: "floor at n = 1, 10; off at n = 100 (0.81)"."""
    parts = []
    for grade in ("floor", "close", "off", "no truth"):
        own = [row for row in cells if row.grade == grade]
        if own:
            parts.append(f"{grade} at n = {', '.join(_with_excess(row) for row in own)}")
    return "; ".join(parts)


def _with_excess(row: ErrorSummary) -> str:
    return f"{row.observations}" + (
        f" ({max(row.mean_excess, row.covariance_excess):.2f})" if row.grade == "off" else ""
    )
