"""Experiments as data: quick profiles end to end, and their readings against a computation by hand."""

import csv
import json

import gymnasium as gym
import numpy as np
import pytest

from dts_gym.cli.entry import main
from dts_gym.studies import Ask, Conduct, load_study, study_ids
from dts_gym.studies.cells import Cause, Claim, Line
from dts_gym.studies.comparison_study import CellStudy, run_cells
from dts_gym.studies.outcome import claim_verdicts, findings_of, lines_of, verdicts
from dts_gym.studies.study import judge
from dts_gym.utils.tables import mean_interval


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


SWISS_AGENTS = {"dTS", "dTS (branch 0)", "dUCB (exploration horizon)", "LinTS", "LinUCB", "TunedTS"}


@pytest.fixture(scope="module")
def swiss():
    return run_cells(load_study("swiss-roll"), Ask(), Conduct())


def test_every_paper_cell_names_an_environment_and_its_own_folder():
    for study_id in study_ids():
        study = load_study(study_id)
        assert study.id == study_id
        if not isinstance(study, CellStudy):
            continue
        for profile in ("quick", "paper"):
            cells = study.cells(profile, None)
            assert len({cell.name for cell in cells}) == len(cells)
            assert all(cell.env_id in gym.registry and cell.panel for cell in cells)
            assert all(cell.num_rounds <= cell.env_settings.get("horizon", 5000) for cell in cells)


def test_lines_are_the_runs_means_and_paired_differences(swiss):
    (comparison,) = swiss.comparisons
    found = {(line.agent, line.scale): line for line in lines_of(swiss)}
    assert set(found) == {(agent, scale) for agent in SWISS_AGENTS for scale in ("at 1", "tuned")}
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
    ends = np.array([mean_interval(row) for row in rng.standard_normal((2000, 5))])
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
    assert findings_of(swiss).table() in text  # the same numbers in another process' folder
    assert (out / "outcome.csv").read_text() == findings_of(swiss).numbers
    rows = list(csv.DictReader((out / "outcome.csv").open()))
    assert {row["agent"] for row in rows} == SWISS_AGENTS
    assert (out / "outcome.png").read_bytes()[:4] == b"\x89PNG"
    assert main(command) == 2
    assert "out must be a new or empty folder unless resumed" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert (out / "outcome.csv").read_text() == findings_of(swiss).numbers


def test_movielens_tunes_on_other_movies_than_it_reports(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 120))
    stars = np.clip(3 + 0.4 * true + 0.3 * rng.standard_normal(true.shape), 0.5, 5)
    rows = [f"{u}\t{m}\t{stars[u, m]:.2f}\t0\n" for u in range(60) for m in range(120) if rng.random() < 0.7]
    (tmp_path / "u.data").write_text("".join(rows))
    outcome = run_cells(load_study("movielens"), Ask(data=str(tmp_path), only="gaussian"), Conduct())
    (comparison,) = outcome.comparisons
    assert comparison.experiment.env_settings["part"] == "report"
    assert comparison.tuning.experiment.env_settings == comparison.experiment.env_settings | {"part": "tuning"}
    reported, tuned = (
        gym.make("MovieLensBandit-v0", **each.experiment.env_settings).unwrapped._held_out
        for each in (comparison, comparison.tuning)
    )
    assert not (reported[:, None] == tuned[None]).all(axis=2).any()


def test_a_claim_is_judged_by_the_interval_of_its_paired_differences(swiss):
    (comparison,) = swiss.comparisons
    found = claim_verdicts(swiss)
    text = "With 50 pre-training draws dTS is already ahead of LinTS."
    own = [verdict for verdict in found if verdict.claim == text]
    assert [verdict.contrast for verdict in own[:4]] == [
        f"regret of {name} less dTS's" for name in ("LinTS", "LinUCB", "TunedTS", "dTS (branch 0)")
    ]
    assert len(own) == 8  # at 1 and tuned
    difference = comparison.final_regret("LinTS") - comparison.final_regret("dTS")
    assert own[0].value == pytest.approx(difference.mean())
    assert len(found) == 8  # the other claims are about cells that the quick profile lacks


@pytest.mark.parametrize(
    ("interval", "answer", "cause"),
    [
        ((0.1, 1, 2), "holds", ""),
        ((-2, -1, -0.1), "does not hold", "why"),
        ((-1, 1, 3), "undecided", ""),
        ((np.nan, 1, np.nan), "undecided", ""),
    ],
)
def test_a_verdict_follows_its_interval(interval, answer, cause):
    verdict = judge("claim", "where", "contrast", interval, "why")
    assert (verdict.answer, verdict.cause) == (answer, cause)


def test_a_cause_is_told_only_where_it_was_found():
    causes = (Cause("one cell", "at 1", ("B",), ("small",)), Cause("one agent", "at 1", ("B",)), Cause("all", "tuned"))
    claim = Claim("A is better", "A", ("B", "C"), causes=causes)
    asked = [("small", "at 1", "B"), ("large", "at 1", "B"), ("small", "at 1", "C"), ("large", "tuned", "C")]
    assert [claim.cause(*each) for each in asked] == ["one cell", "one agent", "", "all"]


def test_causes_are_of_agents_and_cells_that_there_are():
    found = 0
    for study in (study for study in map(load_study, study_ids()) if isinstance(study, CellStudy)):
        for claim in study.reading.claims:
            cells = {cell.name for cell in study.cells("paper", None)}
            for cause in claim.causes:
                assert set(cause.worse) & set(claim.worse) or not cause.worse
                assert set(cause.cells) <= cells
                found += 1
    assert found > 10


def test_ratings_that_are_far_from_normal_are_not_called_normal():
    """The last cell has every movie, whose factors lie on rays."""
    claim = load_study("movielens").reading.claims[1]
    few, every = "rank-5-actions-1000-bernoulli-ratings-5", "rank-5-actions-100-gaussian-ratings-1"
    assert "normal" in claim.cause(few, "at 1", "TunedTS")
    assert "mode" in claim.cause(every, "tuned", "TunedTS")
    assert claim.cause(few, "tuned", "MixTS") == ""


def test_cells_told_another_prior_have_the_same_instances(tmp_path):
    """Agents that look at no prior have the same regret in all cells of the misspecification study; dTS has not."""
    study = load_study("misspecification")
    outcome = run_cells(study, Ask(seeds=2), Conduct(out=tmp_path / "runs"))
    first, *others = outcome.comparisons
    assert [cell.x for cell in outcome.cells] == [0.0, 0.5, 1.0, 1.5]
    for other in others:
        np.testing.assert_array_equal(other.regret("LinTS"), first.regret("LinTS"))
        assert (other.final_regret("dTS") != first.final_regret("dTS")).all()
    costs = [v for v in claim_verdicts(outcome) if v.claim == "A prior that is off costs dTS regret."]
    assert [v.where for v in costs] == ["at 1", "tuned"] * 3
    assert costs[0].value == pytest.approx(np.mean(others[0].final_regret("dTS") - first.final_regret("dTS")))


def test_the_gap_is_a_difference_of_differences(tmp_path):
    outcome = run_cells(load_study("gap-vs-K"), Ask(seeds=2), Conduct())
    few, many = outcome.comparisons[0], outcome.comparisons[-1]
    gaps = [each.final_regret("LinTS") - each.final_regret("dTS") for each in (few, many)]
    verdict = next(v for v in claim_verdicts(outcome) if v.contrast.startswith("(LinTS less dTS) at K=500"))
    assert verdict.value == pytest.approx((gaps[1] - gaps[0]).mean())
    findings_of(outcome).draw(tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"


def test_all_experiments_in_one_command_whatever_the_backend(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dts_gym.cli.reproduce.study_ids", lambda: ["scaling", "swiss-roll"])
    command = ["reproduce", "all", "--seeds", "2", "--no-progress"]
    for backend in ("serial", "processes"):
        assert main([*command, "--out", str(tmp_path / backend), "--backend", backend]) == 0
        text = capsys.readouterr().out
        assert "swiss-roll: dTS is ahead of LinTS" in text
        assert "Regret of dTS grows with K" in text
    for name in ("outcome.csv", "verdicts.csv", "outcome.txt", "study.json"):
        for study_id in ("swiss-roll", "scaling"):
            first, second = ((tmp_path / backend / study_id / name).read_bytes() for backend in ("serial", "processes"))
            assert first == second, name
    verdict_rows = list(csv.DictReader((tmp_path / "serial" / "scaling" / "verdicts.csv").open()))
    assert {row["answer"] for row in verdict_rows} == {"not judged"}
    described = json.loads((tmp_path / "serial" / "scaling" / "study.json").read_text())
    assert described["command"] == "dts-gym reproduce scaling --profile quick --seeds 2"
    assert described["settings"]["actions-10"]["seeds"] == 2


def test_all_goes_on_where_one_experiment_cannot_be_had(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dts_gym.cli.reproduce.study_ids", lambda: ["movielens", "swiss-roll"])

    def without_network(study, ask, conduct):
        if study.id == "movielens":
            raise OSError("ml-1m could not be downloaded")
        return run_cells(study, ask, conduct)

    monkeypatch.setattr("dts_gym.studies.comparison_study.run_cells", without_network)
    assert main(["reproduce", "all", "--out", str(tmp_path / "out"), "--no-progress"]) == 2
    printed = capsys.readouterr()
    assert "swiss-roll: dTS is ahead of LinTS" in printed.out
    assert "1 experiments were run, these could not be: movielens (ml-1m could not be downloaded)" in printed.err
    assert (tmp_path / "out" / "swiss-roll" / "outcome.csv").exists()
    assert not (tmp_path / "out" / "movielens").exists()
    assert main(["reproduce", "movielens", "--out", str(tmp_path / "a" / "b")]) == 2
    assert not (tmp_path / "a").exists()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"experiment must be one of .*, got 'swiss'"):
        load_study("swiss")
    with pytest.raises(ValueError, match="data must be left out of swiss-roll"):
        load_study("swiss-roll").run(Ask(data="ml-1m"))
    with pytest.raises(ValueError, match=r"profile must be one of \('quick', 'paper'\), got 'papr'"):
        Ask("papr")
    with pytest.raises(ValueError, match="only must be part of one of"):
        load_study("swiss-roll").run(Ask(only="rank"))


def test_posteriors_in_the_plane_are_drawn(tmp_path):
    findings = load_study("posterior-2d").run(Ask(seeds=1, only="cross"))
    findings.draw(tmp_path / "plane.png")
    assert (tmp_path / "plane.png").stat().st_size > 10_000
