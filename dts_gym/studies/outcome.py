"""Results of a comparison of agents: a table with paired differences, verdicts, a CSV, a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from dts_gym.harness.brackets import ScaleEnd
from dts_gym.harness.experiment import Comparison, base_label
from dts_gym.harness.explorations import exploration_of
from dts_gym.studies.cells import Line, Outcome, Scale, scales
from dts_gym.studies.pictures import draw_differences, draw_over_rounds, draw_over_x
from dts_gym.studies.study import Findings, Verdict, judge
from dts_gym.utils.arrays import Array
from dts_gym.utils.tables import MARK, csv_text, marked, mean_interval, plus_minus, standard_error


def lines_of(outcome: Outcome) -> list[Line]:
    """Every agent of every cell, at 1 and, where the cell was tuned, at its best scale; the reference comes first."""
    found: list[Line] = []
    for cell, comparison in zip(outcome.cells, outcome.comparisons, strict=True):
        for kind in scales(cell):
            chosen = labels_at(comparison, kind)
            first = next(base for base in chosen if is_agent(base, outcome.reading.reference))
            reference = comparison.final_regret(chosen[first])
            for base in sorted(chosen, key=lambda name: name != first):
                regret = comparison.final_regret(chosen[base])
                spec = next(s for s in comparison.experiment.agents if s.label == chosen[base])
                low, mean, high = mean_interval(regret - reference)
                if base == first:
                    low = high = math.nan
                end = end_at(comparison, base, kind)
                found.append(
                    Line(cell.name, cell.panel, cell.x, base, kind, exploration_of(spec),
                         float(regret.mean()), float(standard_error(regret)), mean, low, high, len(regret),
                         "" if end is None else end.side)
                )  # fmt: skip
    return found


def labels_at(comparison: Comparison, kind: Scale) -> dict[str, str]:
    """Agent without its exploration -> label of its runs at 1, or at its best scale; an agent best at 1 has one run."""
    found: dict[str, str] = {}
    for spec in comparison.experiment.agents:
        base = base_label(spec)
        if base not in found or kind == "tuned":  # a tuned agent comes after its untuned version
            found[base] = spec.label
    return found


def end_at(comparison: Comparison, base: str, kind: Scale) -> ScaleEnd | None:
    """The end of the scales tried at which a tuned agent (by its label without exploration) is best; None if inside."""
    return comparison.ends.get(labels_at(comparison, kind).get(base, "")) if kind == "tuned" else None


def end_note(outcome: Outcome, kind: Scale, *runs: tuple[str, str]) -> str:
    """The note of a verdict where a tuned scale is the best at an end of those tried.

    Parameters
    ----------
    runs : names of the agent and the cell of each run that the verdict compares.
    """
    found = [
        f"{cell}, {end.text}"
        for name, cell in runs
        if (comparison := outcome.of(cell)) is not None
        for base in labels_at(comparison, kind)
        if is_agent(base, name) and (end := end_at(comparison, base, kind)) is not None
    ]
    return "; ".join(dict.fromkeys(found))


def is_agent(base: str, name: str) -> bool:
    """Whether a label without exploration belongs to the agent of this name, apart from its storage settings."""
    return base == name or base == f"{name} (pool kept)"


def final_regret_of(comparison: Comparison, name: str, kind: Scale) -> Array | None:
    """(seeds,) final regret of an agent at 1 or tuned; None if the agent was not compared."""
    label = next((label for base, label in labels_at(comparison, kind).items() if is_agent(base, name)), None)
    return None if label is None else comparison.final_regret(label)


def claim_verdicts(outcome: Outcome) -> list[Verdict]:
    """Verdicts on the experiment's claims in every cell they are about, at 1 and tuned; then its further verdicts."""
    found = []
    for claim in outcome.reading.claims:
        for cell, comparison in zip(outcome.cells, outcome.comparisons, strict=True):
            if claim.cells and cell.name not in claim.cells:
                continue
            for kind in scales(cell):
                less = final_regret_of(comparison, claim.better, kind)
                for name in claim.worse:
                    more = final_regret_of(comparison, name, kind)
                    if less is None or more is None:
                        continue
                    contrast = f"regret of {name} less {claim.better}'s"
                    where = f"{cell.panel}, {kind}" if cell.x is None else f"{cell.panel}, {cell.x:g}, {kind}"
                    cause = claim.cause(cell.name, kind, name)
                    note = end_note(outcome, kind, (claim.better, cell.name), (name, cell.name))
                    found.append(judge(claim.text, where, contrast, mean_interval(more - less), cause, note))
    return found + ([] if outcome.reading.further is None else outcome.reading.further(outcome))


def verdicts(lines: Sequence[Line]) -> list[tuple[str, Scale, str]]:
    """For every cell and kind of scale: whether the reference is first, tied or behind.

    "first": every other agent has more regret, its interval above 0. "behind NAMES": the intervals of these are below
    0. Else "tied for first with NAMES": those whose interval contains 0. The intervals are not simultaneous: with five
    agents a reference that is truly first is called behind by chance in up to one case of eight.
    """
    found = []
    for cell, kind in dict.fromkeys((line.cell, line.scale) for line in lines):
        own = [line for line in lines if (line.cell, line.scale) == (cell, kind)][1:]
        ahead = [line.agent for line in own if line.high < 0]
        tied = [line.agent for line in own if not (line.high < 0 or line.low > 0)]
        text = f"behind {', '.join(ahead)}" if ahead else f"tied for first with {', '.join(tied)}" if tied else "first"
        found.append((cell, kind, text))
    return found


def between_cells(
    outcome: Outcome, claim: str, more: tuple[str, str], less: tuple[str, str], cause: str = ""
) -> list[Verdict]:
    """Verdicts, one for each scale, on a claim that one agent in one cell has more regret than another in another cell.

    Parameters
    ----------
    more, less : for each, the agent's label and the cell's name; there is no verdict where a cell was not run.

    Notes
    -----
    Runs of one seed are paired: cells that differ only in the agents' settings or priors have the same
    instances; others have independent instances, for which pairing does no harm on average.
    """
    found: list[Verdict] = []
    cells = {cell.name: cell for cell in outcome.cells}
    first, second = outcome.of(more[1]), outcome.of(less[1])
    if first is None or second is None:
        return found
    for kind in scales(cells[more[1]]):
        high, low = final_regret_of(first, more[0], kind), final_regret_of(second, less[0], kind)
        assert high is not None
        assert low is not None
        contrast = f"regret of {more[0]} in {more[1]} less {less[0]}'s in {less[1]}"
        note = end_note(outcome, kind, more, less)
        found.append(judge(claim, kind, contrast, mean_interval(high - low), cause, note))
    return found


def findings_of(outcome: Outcome) -> Findings:
    """A row for each agent and cell: regret at 1 and tuned, each with its excess over the reference (95 % interval)."""
    lines = lines_of(outcome)
    at = {(line.cell, line.agent, line.scale): line for line in lines}
    rows: list[Sequence[str]] = [
        ("cell", "agent", "at 1", "more than reference", "tuned", "scale", "more than reference")
    ]
    for cell, agent in dict.fromkeys((line.cell, line.agent) for line in lines):
        row = [cell, agent]
        for kind in ("at 1", "tuned"):
            line = at.get((cell, agent, kind))
            if line is None:
                row += ["", "", ""] if kind == "tuned" else ["", ""]
                continue
            row.append(plus_minus(line.regret, line.standard_error))
            if kind == "tuned":
                row.append("" if line.exploration is None else marked(f"{line.exploration:g}", line.scale_end))
            row.append("" if math.isnan(line.low) else f"{line.less:.1f} ({line.low:.1f}, {line.high:.1f})")
        rows.append(row)
    reading = outcome.reading
    notes = [f"Reference: {reading.reference}."]
    notes += [f"{cell}, {kind}: {reading.reference} {text}" for cell, kind, text in verdicts(lines)]
    notes += _end_notes(outcome, lines)

    def draw(path: str | os.PathLike[str]) -> None:
        if reading.picture == "rounds":
            draw_over_rounds(_curves(outcome), path)
        elif reading.picture == "x":
            draw_over_x(lines, reading.x_label, path)
        else:
            draw_differences(lines, reading.reference, path)

    numbers = csv_text(Line._fields, lines)
    return Findings(rows, "\n".join(notes), numbers, tuple(claim_verdicts(outcome)), draw, outcome.states)


def _end_notes(outcome: Outcome, lines: Sequence[Line]) -> list[str]:
    """A line for every tuned agent of a cell whose scale is the best at an end of those tried."""
    comparisons = {cell.name: one for cell, one in zip(outcome.cells, outcome.comparisons, strict=True)}
    ends = ((line.cell, end_at(comparisons[line.cell], line.agent, line.scale)) for line in lines)
    return [f"{MARK} {cell}, {end.text}" for cell, end in ends if end is not None]


def _curves(outcome: Outcome) -> list[tuple[str, Comparison, dict[str, str], set[str]]]:
    """A panel for each cell and scale: title, comparison, agents with the labels of their runs, agents to mark."""
    return [
        (
            f"{cell.panel}, {kind}",
            comparison,
            labels_at(comparison, kind),
            {base for base in labels_at(comparison, kind) if end_at(comparison, base, kind) is not None},
        )
        for cell, comparison in zip(outcome.cells, outcome.comparisons, strict=True)
        for kind in scales(cell)
    ]
