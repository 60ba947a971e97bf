"""Tuned scales at an end of those tried are marked in all that a study writes."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from dts_gym.cli.entry import main
from dts_gym.harness.comparing import compare
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, RunRecord
from dts_gym.studies import pictures
from dts_gym.studies.cells import Cell, Claim, Outcome, Reading
from dts_gym.studies.comparison_study import CellStudy, run_cells
from dts_gym.studies.findings import write_findings
from dts_gym.studies.outcome import between_cells, claim_verdicts, end_at, findings_of
from dts_gym.studies.study import Ask

SETTINGS = {"num_actions": 6, "dim": 2, "horizon": 40}


def study(bracket):
    def cell(name, x, panel):
        return Cell(name, "DiffusionBandit-v0", ("dTS", "LinTS"), SETTINGS, 3, 40, grid=(0.5, 0.004), tuning_seeds=2,
                    bracket=bracket, x=x, panel=panel)  # fmt: skip

    cells = (cell("first", 1.0, "one"), cell("second", 2.0, "two"))
    return CellStudy(
        id="scaling",
        claim="dTS has less.",
        description="A small one.",
        reading=Reading("dTS", (Claim("dTS has less.", "dTS", ("LinTS",)),)),
        cells=lambda profile, data: cells,
    )


@pytest.fixture(scope="module")
def fixed():
    """Two scales only: each agent's best is the smallest or the largest."""
    return run_cells(study(bracket=False), Ask(), Conduct())


def test_table_numbers_and_verdicts_tell_of_ends(fixed):
    findings = findings_of(fixed)
    (ends, _) = (comparison.ends for comparison in fixed.comparisons)
    texts = {end.text for end in ends.values()}
    assert len(texts) == 2
    rows = [row for row in findings.rows[1:] if row[0] == "first"]
    assert all(row[5].endswith(" †") for row in rows)
    assert {f"† first, {text}" for text in texts} <= set(findings.notes.splitlines())
    numbers = list(csv.DictReader(io.StringIO(findings.numbers)))
    assert {row["scale_end"] for row in numbers if row["scale"] == "at 1"} == {""}
    assert "" not in {row["scale_end"] for row in numbers if row["scale"] == "tuned"}
    at_one, tuned = findings.verdicts[:2]
    assert (at_one.where, at_one.note) == ("one, 1, at 1", "")
    assert tuned.where == "one, 1, tuned"
    assert set(tuned.note.split("; ")) == {f"first, {text}" for text in texts}
    crossed = between_cells(fixed, "more", ("dTS", "first"), ("LinTS", "second"))
    assert crossed[0].note == ""
    assert [part.partition(":")[0] for part in crossed[1].note.split("; ")] == ["first, dTS", "second, LinTS"]


def test_files_and_page_tell_of_ends(fixed, tmp_path):
    findings = findings_of(fixed)
    printed = write_findings(tmp_path, study(bracket=False), Ask(), findings)
    note = findings.verdicts[1].note
    assert f"    † {note}\n" in printed
    assert "one, 1, tuned †" in printed
    rows = list(csv.DictReader((tmp_path / "verdicts.csv").open()))
    assert [row["note"] for row in rows] == [verdict.note for verdict in findings.verdicts]
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert f"† {note}" in page
    assert ">one, 1, tuned †</td>" in page
    # What was written before there were notes is read too.
    with (tmp_path / "verdicts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "note"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert main(["report", str(tmp_path)]) == 0
    assert f"† {note}<" not in (tmp_path / "report.html").read_text().partition("<details>")[0]


@pytest.mark.parametrize("picture", ["rounds", "x", "differences"])
def test_figures_tell_of_ends(fixed, picture, tmp_path, monkeypatch):
    words, ends = [], []
    monkeypatch.setattr("matplotlib.figure.Figure.supxlabel", lambda self, text, **style: words.append(text))
    monkeypatch.setattr(pictures, "label_ends", lambda axes, drawn, size: ends.extend(name for _, name, _ in drawn))
    ticks = "matplotlib.axes.Axes.set_yticks"
    monkeypatch.setattr(ticks, lambda self, places, names=(), **style: ends.extend(names))
    reading = Reading("dTS", picture=picture)
    untuned = tuple(replace(cell, grid=()) for cell in fixed.cells)
    for cells, marks in ((fixed.cells, True), (untuned, False)):
        words.clear()
        ends.clear()
        findings_of(Outcome(reading, cells, fixed.comparisons)).draw(tmp_path / "x.png")
        assert words[0].endswith(pictures.END_NOTE) == marks
        assert any(" †" in name for name in ends) == marks
        assert not any("at 1 †" in name for name in ends)


def test_a_cell_brackets_unless_told_not_to(fixed):
    outcome = run_cells(study(bracket=True), Ask(only="first"), Conduct())
    (comparison,) = outcome.comparisons
    asked = comparison.experiment.tuning
    assert asked["bracket"] is True
    assert len(comparison.tuning.labels) > len(fixed.comparisons[0].tuning.labels) == 4
    assert fixed.comparisons[0].experiment.tuning["bracket"] is False


def test_an_agent_that_is_best_at_1_is_marked_where_it_stands_as_tuned():
    asked = {"env_settings": SETTINGS, "seeds": 1, "tune": True, "tuning_seeds": 1}
    comparison = compare("DiffusionBandit-v0", ["LinTS"], **asked, grid=(1.0,), bracket=False)
    assert comparison.labels == ["LinTS"]
    assert end_at(comparison, "LinTS", "at 1") is None
    assert end_at(comparison, "LinTS", "tuned").side == "smallest and largest"


def regrets(label, seeds, final):
    """A finished comparison of one agent or more, whose last regrets are given: label -> (seeds,)."""
    rounds = np.array([1, 40])
    specs = tuple(AgentSpec(name, {}) for name in label)
    runs = {
        spec.label: tuple(
            RunRecord(seed, seed, seed, rounds, np.array([0.0, final[spec.label][seed]]), 0.0, 0.0, 0.0)
            for seed in seeds
        )
        for spec in specs
    }
    return Comparison(Experiment("DiffusionBandit-v0", {}, specs, tuple(seeds), 40), runs)


def test_verdicts_pair_the_runs_of_a_seed():
    """Instances differ by hundreds, the agents by one on each of them: pairs tell, two means do not."""
    seeds, rng = range(8), np.random.default_rng(0)
    hard = rng.uniform(100.0, 900.0, 8)
    less = hard + rng.normal(0.0, 0.1, 8)
    first = regrets(("dTS", "LinTS"), seeds, {"dTS": less, "LinTS": hard + 1.0})
    second = regrets(("dTS", "LinTS"), seeds, {"dTS": less + 2.0, "LinTS": hard + 3.0})
    cells = tuple(Cell(name, "DiffusionBandit-v0", ("dTS", "LinTS"), SETTINGS, 8, 40, panel=name) for name in "ab")
    reading = Reading("dTS", (Claim("dTS has less.", "dTS", ("LinTS",)),))
    outcome = Outcome(reading, cells, (first, second))
    found = claim_verdicts(outcome) + between_cells(outcome, "b is harder", ("dTS", "b"), ("dTS", "a"))
    assert len(found) == 3
    for verdict, value in zip(found, (1.0, 1.0, 2.0), strict=True):
        assert verdict.answer == "holds"
        assert abs(verdict.value - value) < 0.2
        assert verdict.high - verdict.low < 1.0
