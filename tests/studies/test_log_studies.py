"""Experiments on logs: quick profiles end to end, and their numbers against a computation by hand."""

import csv

import numpy as np
import pytest

from dts_gym import random_linear_prior
from dts_gym.studies import Ask, Conduct, load_study
from dts_gym.studies.log_study import LogCell, lines_of
from dts_gym.studies.offpolicy import judged, logged_world
from dts_gym.utils.tables import mean_interval


def test_policies_of_a_simulated_log_are_judged_by_their_true_values():
    rng = np.random.default_rng(0)
    prior = random_linear_prior(3, 2, seed=0)
    theta, guess = prior.sample(rng, 6), prior.sample(rng, 6)
    world = logged_world(prior, theta, rng.uniform(-1, 1, (1200, 3)), 200, 1.0, rng, guess)
    assert (len(world.log), len(world.fresh)) == (200, 1000)
    found = judged(world)
    means = world.fresh @ theta.T
    assert found["sDM, loss"] + found["sDM, value"] == pytest.approx(means.max(axis=1).mean())
    assert found["sDM, error"] == pytest.approx(abs(found["sDM, claim"] - found["sDM, value"]))
    assert 0 <= found["sDM, loss"] < means.max(axis=1).mean() - means.mean()


@pytest.mark.parametrize("name", ["offpolicy-synthetic", "offpolicy-digits"])
def test_a_quick_profile_runs_and_its_verdicts_are_paired_differences(name, tmp_path):
    if name == "offpolicy-digits":
        pytest.importorskip("sklearn")
    study = load_study(name)
    findings = study.run(Ask(seeds=2), Conduct())
    assert {verdict.answer for verdict in findings.verdicts} == {"not judged"}
    lines = list(csv.DictReader(findings.numbers.splitlines()))
    verdict, contrast = findings.verdicts[0], study.contrasts[0]
    values = {
        label: np.array(
            [float(line["value"]) for line in lines if (line["cell"], line["number"]) == (verdict.where, label)]
        )
        for label in (contrast.more, contrast.less)
    }
    low, value, high = mean_interval(values[contrast.more] - values[contrast.less])
    assert (verdict.low, verdict.value, verdict.high) == pytest.approx((low, value, high))
    findings.draw(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert study.settings(Ask(seeds=2))["seeds"] == [2]


def test_a_line_joins_the_cells_that_differ_in_the_axis_alone():
    """K = 10 is the dimension too, which does not make it the axis."""
    cells = [LogCell(f"K={K}", K, None, {"K": K, "d": 10, "narrow": 0.7}, 2) for K in (10, 50, 100)]
    narrow = LogCell("narrow", 50, None, {"K": 50, "d": 10, "narrow": 0.9}, 2)
    assert lines_of([*cells, narrow]) == {"": cells, "narrow 0.9": [narrow]}
