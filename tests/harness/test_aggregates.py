"""Aggregates over cells: by hand, against brute force, and the coverage of their intervals."""

import types

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

import dts_gym
from dts_gym.cli.entry import main
from dts_gym.harness.aggregates import TUNED, Aggregates, final_regrets


def made(cells, **settings):
    known = {"reference": "Random", "level": 0.95, "num_resamples": 200, "seed": 0, **settings}
    return Aggregates({name: {a: np.array(v, float) for a, v in cell.items()} for name, cell in cells.items()}, **known)


def test_the_mean_of_the_middle_half_by_hand():
    # Eight runs of equal weight: the middle half is the third to the sixth.
    found = made({"one": {"A": [0, 1, 2, 3, 4, 5, 6, 70]}})
    assert found.interquartile_mean("A")[1] == pytest.approx((2 + 3 + 4 + 5) / 4)
    # Two runs in one cell weigh as much as four in another: weights 1/4, 1/4, 1/8 four times, from the lowest on.
    found = made({"one": {"A": [0, 1]}, "two": {"A": [2, 3, 4, 5]}})
    assert found.interquartile_mean("A")[1] == pytest.approx((0.25 * 1 + 0.125 * (2 + 3)) / 0.5)


def test_against_other_programs():
    rng = np.random.default_rng(0)
    cells = {c: {"A": rng.gamma(2, size=20), "B": rng.gamma(3, size=20)} for c in "xyz"}
    found = made(cells)
    pooled = np.concatenate([cell["A"] for cell in cells.values()])
    assert found.interquartile_mean("A")[1] == pytest.approx(trim_mean(pooled, 0.25))
    wins = [mannwhitneyu(cell["B"], cell["A"]).statistic / 400 for cell in cells.values()]  # pairs where B is larger
    assert found.improvement("A", "B")[1] == pytest.approx(np.mean(wins))
    assert found.improvement("B", "A")[1] == pytest.approx(1 - np.mean(wins))
    thresholds = [0.5, 1.0, 3.0]
    low, share, high = found.profile("A", thresholds)
    np.testing.assert_allclose(share, [(pooled <= t).mean() for t in thresholds])
    assert (low <= share).all()
    assert (share <= high).all()


def test_ties_count_a_half_and_an_agent_is_no_improvement_on_itself():
    found = made({"one": {"A": [1, 1], "B": [1, 2]}, "two": {"A": [0, 3], "B": [3, 3]}})
    assert found.improvement("A", "B")[1] == pytest.approx(np.mean([(0.5 + 1) / 2, (1 + 0.5) / 2]))
    low, share, high = found.improvement("A", "A")
    assert (low, share, high) == (0.5, 0.5, 0.5), "seeds are drawn alike for both"


def test_a_bootstrap_by_loops_has_the_same_ends():
    """Ends against samples drawn seed by seed, to their own error."""
    rng = np.random.default_rng(1)
    cells = {c: {"A": rng.gamma(2, size=n), "B": rng.gamma(2.5, size=n)} for c, n in (("x", 12), ("y", 30))}
    found = made(cells, num_resamples=4000)
    means, shares = [], []
    for _ in range(4000):
        rows = {c: rng.integers(len(cell["A"]), size=len(cell["A"])) for c, cell in cells.items()}
        drawn = made({c: {a: v[rows[c]] for a, v in cell.items()} for c, cell in cells.items()}, num_resamples=1)
        means.append(drawn.interquartile_mean("A")[1])
        shares.append(drawn.improvement("A", "B")[1])
    for ends, samples in ((found.interquartile_mean("A"), means), (found.improvement("A", "B"), shares)):
        # Two quantiles of 4000 samples each: five standard errors of their difference are below a tenth of the width.
        np.testing.assert_allclose(ends[::2], np.quantile(samples, [0.025, 0.975]), atol=0.1 * np.std(samples) * 4)


def test_intervals_cover():
    """Runs of three cells drawn anew 300 times: 95 % intervals hold the truth in 88 to 99 %."""
    rng = np.random.default_rng(2)
    large = made({c: {"A": rng.gamma(2 + i, size=200_000)} for i, c in enumerate("xyz")}, num_resamples=1)
    truth, held = large.interquartile_mean("A")[1], 0
    for trial in range(300):
        cells = {c: {"A": rng.gamma(2 + i, size=30)} for i, c in enumerate("xyz")}
        low, _, high = made(cells, num_resamples=400, seed=trial).interquartile_mean("A")
        held += low <= truth <= high
    assert 264 <= held <= 297  # a share of 95 % is below 88 % once in a million such counts, and above 99 % in 3000


def compared(K, agents=("dUCB", "LinUCB", "Random"), **settings):
    return dts_gym.compare(
        "DiffusionBandit-v0",
        list(agents),
        seeds=4,
        num_rounds=40,
        env_settings={"num_actions": K, "dim": 2},
        **settings,
    )


def test_regret_is_relative_to_the_references_mean_in_each_cell():
    cells = {"few": compared(3), "many": compared(20, ("dUCB", "LinUCB", "Random", "Greedy"))}
    found = dts_gym.aggregate(cells, num_resamples=50)
    for name, comparison in cells.items():
        expected = comparison.final_regret("dUCB") / comparison.final_regret("Random").mean()
        np.testing.assert_array_equal(found.cells[name]["dUCB"], expected)
        assert found.cells[name]["Random"].mean() == pytest.approx(1.0)
    assert found.agents == ["dUCB", "LinUCB", "Random"]
    assert found.left_out == {"Greedy": 1}
    assert "left out: Greedy, in 1 of 2 cells" in repr(found)
    again = dts_gym.aggregate(cells, num_resamples=50)
    assert repr(again) == repr(found)
    assert repr(dts_gym.aggregate(cells, num_resamples=50, seed=1)) != repr(found)
    assert [cell for cell in dts_gym.aggregate(list(cells.values())).cells] == ["cell 0", "cell 1"]
    with pytest.raises(ValueError, match="agent must be in every cell"):
        found.interquartile_mean("Greedy")
    assert 0 <= found.improvement("Greedy", "Random")[1] <= 1
    axes = found.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == found.agents


def test_tuned_agents_have_one_name_at_any_scale():
    comparison = compared(4, ("dTS", "dUCB", "Random"), tune=True, grid=(1.0, 0.5, 0.25), tuning_seeds=2)
    found = final_regrets(comparison)
    assert {"dTS", "dTS" + TUNED, "dUCB", "Random"} == set(found)
    at_one = types.SimpleNamespace(scales={"dTS": {1.0: np.ones(2)}})
    assert "dTS" + TUNED in final_regrets(
        dts_gym.harness.experiment.Comparison(
            compared(4, ("dTS", "Random")).experiment, compared(4, ("dTS", "Random")).runs, at_one
        )
    )


@pytest.mark.parametrize(
    ("cells", "settings", "said"),
    [
        ({}, {}, "comparisons must be a Comparison or more"),
        ({"a": "folder"}, {}, "comparisons must be a Comparison or more"),
        (None, {"reference": "random"}, "reference must be an agent of every cell, got 'random', which cell 0 lacks"),
        (None, {"reference": 3}, "reference must be an agent of every cell"),
        (None, {"reference": "Oracle"}, "reference must have regret in every cell, got 0 of 'Oracle' in cell 0"),
        (None, {"level": 2}, "level"),
        (None, {"num_resamples": 0}, "num_resamples"),
        (None, {"seed": -1}, "seed"),
    ],
)
def test_what_does_not_fit_is_refused(cells, settings, said):
    with pytest.raises(ValueError, match=said):
        dts_gym.aggregate([compared(3, ("Oracle", "Random"))] if cells is None else cells, **settings)


def test_folders_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    compared(3, out="runs/few")
    compared(9, out="runs/many")
    assert main(["aggregate", "runs", "--out", "all"]) == 0
    shown = capsys.readouterr().out
    assert "over 2 cells" in shown
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"profiles.png", "aggregate.csv"}
    assert (tmp_path / "all" / "aggregate.csv").read_text().count("\n") == 4
    assert main(["aggregate", "runs", "--reference", "dTS"]) == 2
    assert "which runs/few lacks" in capsys.readouterr().err
    assert main(["aggregate", "all"]) == 2
    assert "folders must hold records of comparisons" in capsys.readouterr().err
