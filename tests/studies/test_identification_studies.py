"""Experiments of best-arm identification: quick profiles end to end, their verdicts against a computation by hand."""

import csv

import numpy as np
import pytest

import dts_gym
from dts_gym.cli.entry import main
from dts_gym.identification.comparison import IdentificationComparison, Runs
from dts_gym.studies import Ask, Conduct, load_study
from dts_gym.studies.identification import least_error
from truth import rated_movies

IDS = ("bai-mab", "bai-linear", "bai-hierarchical", "bai-ratings")


@pytest.mark.parametrize("name", IDS)
def test_a_quick_profile_runs_on_its_problem_and_its_verdicts_are_paired(name, tmp_path, monkeypatch):
    study, data = load_study(name), None
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    if study.takes_data:
        data = str(rated_movies(tmp_path))
    findings = study.run(Ask(seeds=4, data=data), Conduct())
    assert {verdict.answer for verdict in findings.verdicts} == {"not judged"}
    assert len(findings.verdicts) == 2 * (3 * 2 + 3 * 2)  # budgets, the paper's pairs and ours
    rules = ["SequentialHalving", "TopTwoTS"]
    by_hand = dts_gym.compare_identification(
        name.removeprefix("bai-"),
        rules,
        budgets=40,
        seeds=4,
        env_settings={**study.small, **({"data": data} if data else {})},
    )
    worse, better = (1.0 - by_hand.runs[rule, 40].is_best for rule in rules)
    difference = worse - better
    half = 3.182446 * difference.std(ddof=1) / 2  # Student's t of three degrees of freedom
    contrast = "P(error) of SequentialHalving less TopTwoTS's"
    verdict = next(v for v in findings.verdicts if (v.where, v.contrast) == ("n=40", contrast))
    assert verdict.value == pytest.approx(difference.mean())
    assert (verdict.high - verdict.low) / 2 == pytest.approx(half, rel=1e-5)
    lines = list(csv.DictReader(findings.numbers.splitlines()))
    assert len(lines) == len(findings.rows) - 1 == 2 * 9
    row = next(line for line in lines if (line["rule"], line["budget"]) == ("SequentialHalving", "40"))
    assert float(row["error"]) == worse.mean()
    findings.draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_the_papers_profile_is_the_papers_setting():
    shapes = {"bai-mab": (10, 20, 300), "bai-linear": (30, 50, 300), "bai-hierarchical": (60, 150, 550)}
    for name, (actions, first, last) in shapes.items():
        study = load_study(name)
        asked = study.settings(Ask("paper"))
        assert (asked["budgets"][0], asked["budgets"][-1], asked["runs"]) == (first, last, 1000)
        assert 300 in asked["budgets"]
        assert len(dts_gym.identify(study.problem, "Uniform", budget=1).counts) == actions
        assert set(asked["rules"]) >= {label for c in study.contrasts for label in (c.more, c.less)}
    assert load_study("bai-hierarchical").settings(Ask("paper", only="budget-300"))["budgets"] == [300]
    asked = load_study("bai-ratings").settings(Ask("paper", data="ml-1m"))
    assert (asked["budgets"], asked["runs"], asked["data"]) == ([200, 400, 600, 800, 1000], 200, "ml-1m")


def test_the_command_keeps_its_runs_and_resumes_them(tmp_path, capsys):
    command = ["reproduce", "bai-mab", "--seeds", "2", "--only", "budget-20", "--out", str(tmp_path), "--no-progress"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "n=20: " in text
    files = sorted((tmp_path / "rules" / "runs").glob("*.npz"))
    assert len(files) == 9
    stamps = [path.stat().st_mtime_ns for path in files]
    assert main([*command, "--resume"]) == 0
    assert capsys.readouterr().out == text
    assert [path.stat().st_mtime_ns for path in files] == stamps


def test_the_rule_that_errs_least_is_named_with_those_that_are_not_told_apart():
    """Errors in 10, 11 and 60 of 100 runs: the second differs from the first in three runs, the third in fifty."""
    first, second, third = np.zeros(100), np.zeros(100), np.zeros(100)
    first[:10] = second[1:12] = third[:60] = 1.0

    def compared(errors):
        seeds = np.arange(100)
        runs = {(name, 9): Runs(seeds, seeds * 0, each, each == 0) for name, each in errors.items()}
        return IdentificationComparison("mab", tuple(errors), (9,), tuple(range(100)), runs)

    text = least_error(compared({"C": third, "B": second, "A": first}), 9)
    assert text == "n=9: A errs least often (0.100), not told apart from B."
    assert (
        least_error(compared({"C": third, "A": first}), 9) == "n=9: A errs least often (0.100), below every other rule."
    )
