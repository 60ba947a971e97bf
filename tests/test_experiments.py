"""Experiments as data: quick profiles end to end, and what is read off them against a computation by hand."""

import csv

import gymnasium as gym
import numpy as np
import pytest

from dts_gym.cli import main
from dts_gym.experiments import load_study, study_ids
from dts_gym.experiments.outcome import Line, lines_of, outcome_csv, outcome_table, paired_interval, verdicts
from dts_gym.experiments.study import run_study


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def swiss():
    return run_study(load_study("swiss-roll"))


def test_every_paper_cell_names_an_environment_and_its_own_folder():
    for study_id in study_ids():
        study = load_study(study_id)
        for profile in ("quick", "paper"):
            cells = study.cells(profile, None)
            assert len({cell.name for cell in cells}) == len(cells)
            assert all(cell.env_id in gym.registry and cell.panel for cell in cells)
            assert all(cell.num_rounds <= cell.env_settings.get("horizon", 5000) for cell in cells)


def test_lines_are_the_runs_means_and_paired_differences(swiss):
    (comparison,) = swiss.comparisons
    found = {(line.agent, line.scale): line for line in lines_of(swiss)}
    assert set(found) == {(a, s) for a in ("dTS", "dTS (branch 0)", "LinTS", "TunedTS") for s in ("at 1", "tuned")}
    ours, theirs = comparison.final_regret("dTS"), comparison.final_regret("LinTS")
    line = found["LinTS", "at 1"]
    assert line.regret == theirs.mean()
    assert line.exploration == 1.0
    assert line.seeds == 2
    difference = theirs - ours
    half = 12.7062 * difference.std(ddof=1) / np.sqrt(2)  # Student's t of one degree of freedom
    assert line.less == pytest.approx(difference.mean())
    assert (line.high - line.low) / 2 == pytest.approx(half, rel=1e-5)
    assert np.isnan(found["dTS", "at 1"].low)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """2000 samples of 5: coverage 0.95 with a standard error of 0.005, |z| < 4.5."""
    rng = np.random.default_rng(0)
    ends = np.array([paired_interval(row) for row in rng.standard_normal((2000, 5))])
    covered = ((ends[:, 0] < 0) & (ends[:, 2] > 0)).mean()
    assert abs(covered - 0.95) < 4.5 * np.sqrt(0.95 * 0.05 / 2000)


def line(agent, low, high):
    return Line("cell", "panel", None, agent, "at 1", 1.0, 1.0, 0.1, (low + high) / 2, low, high, 5)


@pytest.mark.parametrize(
    ("others", "text"),
    [
        ([("A", 1, 2), ("B", 3, 4)], "first"),
        ([("A", -1, 2), ("B", 3, 4)], "tied for first with A"),
        ([("A", -3, -2), ("B", -1, 4)], "behind A"),
        ([("A", np.nan, np.nan)], "tied for first with A"),  # one seed settles nothing
    ],
)
def test_verdicts_follow_the_intervals(others, text):
    lines = [line("dTS", np.nan, np.nan), *(line(*other) for other in others)]
    assert verdicts(lines) == [("cell", "at 1", text)]


def test_the_command_writes_what_it_says_and_resumes(tmp_path, capsys, swiss):
    out = tmp_path / "swiss"
    command = ["reproduce", "swiss-roll", "--out", str(out), "--no-progress"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert outcome_table(swiss) in text  # the same numbers in another process' folder
    assert (out / "outcome.csv").read_text() == outcome_csv(swiss)
    rows = list(csv.DictReader((out / "outcome.csv").open()))
    assert {row["agent"] for row in rows} == {"dTS", "dTS (branch 0)", "LinTS", "TunedTS"}
    assert (out / "outcome.png").read_bytes()[:4] == b"\x89PNG"
    assert main(command) == 2
    assert "out must be a new or empty folder, or --resume be given" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert (out / "outcome.csv").read_text() == outcome_csv(swiss)


def test_movielens_tunes_on_other_movies_than_it_reports(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 120))
    stars = np.clip(3 + 0.4 * true + 0.3 * rng.standard_normal(true.shape), 0.5, 5)
    rows = [f"{u}\t{m}\t{stars[u, m]:.2f}\t0\n" for u in range(60) for m in range(120) if rng.random() < 0.7]
    (tmp_path / "u.data").write_text("".join(rows))
    outcome = run_study(load_study("movielens"), data=str(tmp_path), only="gaussian")
    (comparison,) = outcome.comparisons
    assert comparison.experiment.env_settings["part"] == "report"
    assert comparison.tuning.experiment.env_settings == comparison.experiment.env_settings | {"part": "tuning"}
    reported, tuned = (
        gym.make("MovieLensBandit-v0", **each.experiment.env_settings).unwrapped._held_out
        for each in (comparison, comparison.tuning)
    )
    assert not (reported[:, None] == tuned[None]).all(axis=2).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"experiment must be one of .*, got 'swiss'"):
        load_study("swiss")
    with pytest.raises(ValueError, match="data must be left out of swiss-roll"):
        run_study(load_study("swiss-roll"), data="ml-1m")
    with pytest.raises(ValueError, match=r"profile must be one of \('quick', 'paper'\), got 'papr'"):
        run_study(load_study("swiss-roll"), "papr")
    with pytest.raises(ValueError, match="only must be part of the name of a cell"):
        run_study(load_study("swiss-roll"), only="rank")
