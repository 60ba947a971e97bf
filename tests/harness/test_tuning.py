"""Tuning over a fixed grid: its own seeds, the best mean; then both figures side by side."""

import numpy as np
import pytest

from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import AgentSpec
from dts_gym.harness.jobs import run_seeds
from dts_gym.harness.records import load_records
from dts_gym.harness.runner import run
from dts_gym.harness.tuning import at_exploration, base_label, choose, tune, tuning_table, with_tuned
from dts_gym.registry import make_agent

ENV = "DiffusionBandit-v0"
SMALL = {"num_actions": 10, "dim": 3}
GRID = (1, 0.5, 0.1)
ASKED = {"num_rounds": 60, "env_settings": SMALL, "grid": GRID, "bracket": False}


def test_every_point_of_the_grid_is_run_on_tuning_seeds():
    import gymnasium as gym

    result = tune(ENV, ["dTS", "Random", "LinUCB:noise_std=2.0"], **ASKED, seeds=2)
    assert list(result.regret) == ["dTS", "LinUCB (noise_std 2)"]
    for label, agent_id, settings in (("dTS", "dTS", {}), ("LinUCB (noise_std 2)", "LinUCB", {"noise_std": 2.0})):
        assert list(result.regret[label]) == [1.0, 0.5, 0.1]
        means = []
        for value in GRID:
            finals = []
            for seed in (0, 1):
                seeds, env = run_seeds(seed, "tuning"), gym.make(ENV, **SMALL)
                agent = make_agent(agent_id, env, seed=seeds.agent, exploration=value, **settings)
                finals.append(run(env, agent, 60, seed=seeds.env).regret[-1])
            np.testing.assert_array_equal(result.regret[label][value], finals)
            means.append(np.mean(finals))
        assert result.best[label] == GRID[int(np.argmin(means))]


def test_tuning_and_reporting_share_no_instance():
    comparison = compare(ENV, ["LinTS"], **ASKED, seeds=3, tuning_seeds=3, tune=True)
    env_seeds = [
        {run.env_seed for runs in c.runs.values() for run in runs} for c in (comparison, comparison.tuning)
    ]  # fmt: skip
    assert [len(seeds) for seeds in env_seeds] == [3, 3]
    assert not env_seeds[0] & env_seeds[1]
    assert all(seed % 2 == 0 for seed in env_seeds[0])
    assert all(seed % 2 == 1 for seed in env_seeds[1])


def test_compare_reports_agents_as_they_are_and_tuned(tmp_path):
    agents = ["dTS", "Random", "LinTS"]
    comparison = compare(ENV, agents, **ASKED, seeds=3, tuning_seeds=2, tune=True, out=tmp_path)
    best = tune(ENV, agents, **ASKED, seeds=2).best
    assert set(best.values()) < {0.5, 0.1}
    tuned = {agent_id: f"{agent_id} (exploration {best[agent_id]:g})" for agent_id in ("dTS", "LinTS")}
    assert comparison.labels == ["dTS", tuned["dTS"], "Random", "LinTS", tuned["LinTS"]]
    plain = {name: value for name, value in ASKED.items() if name not in ("grid", "bracket")}
    alone = compare(ENV, [f"dTS:exploration={best['dTS']}", "dTS"], **plain, seeds=3)
    np.testing.assert_array_equal(comparison.regret(tuned["dTS"]), alone.regret(tuned["dTS"]))
    np.testing.assert_array_equal(comparison.regret("dTS"), alone.regret("dTS"))
    loaded = load_records(tmp_path)
    assert loaded.labels == comparison.labels
    np.testing.assert_array_equal(loaded.regret(tuned["LinTS"]), comparison.regret(tuned["LinTS"]))
    assert choose(loaded.tuning).best == best
    assert tuning_table(choose(loaded.tuning)) == tuning_table(choose(comparison.tuning))


@pytest.mark.parametrize("after", [3, 8])  # runs recorded before the stop, of 6 tuning runs and 4 reported ones
def test_a_stopped_tuning_is_taken_up(tmp_path, stopped_after, after):
    asked = {**ASKED, "seeds": 2, "tuning_seeds": 2, "tune": True}
    with stopped_after(after):
        compare(ENV, ["LinTS"], **asked, out=tmp_path)
    if after < 6:
        with pytest.raises(ValueError, match="stopped while tuning"):
            load_records(tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(written) == after
    resumed, straight = compare(ENV, ["LinTS"], **asked, out=tmp_path, resume=True), compare(ENV, ["LinTS"], **asked)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert resumed.labels == straight.labels
    for label in straight.labels:
        np.testing.assert_array_equal(resumed.regret(label), straight.regret(label))
    with pytest.raises(ValueError, match=r"tuning\.grid\[2\] = 0\.1, asked for 0\.2"):
        compare(ENV, ["LinTS"], **{**asked, "grid": (1, 0.5, 0.2)}, out=tmp_path, resume=True)


def test_tuning_alone_keeps_records_too(tmp_path):
    result = tune(ENV, ["LinTS"], **ASKED, seeds=2, out=tmp_path)
    loaded = load_records(tmp_path)
    assert loaded.experiment.role == "tuning"
    assert choose(loaded).best == result.best
    again = tune(ENV, ["LinTS"], **ASKED, seeds=2, out=tmp_path, resume=True)
    assert str(again) == str(result)


def test_agents_without_the_setting_are_left_out():
    assert list(tune(ENV, ["Random", "LinTS", "EpsilonGreedy"], **ASKED, seeds=1).best) == ["LinTS"]
    comparison = compare(ENV, ["Random"], **ASKED, seeds=1, tune=True)
    assert comparison.labels == ["Random"]


def test_a_tuning_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"agents must be some with an exploration scale, got \['Random'\]"):
        tune("DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=5, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_tell_tuned_agents_apart():
    plain, scaled, named = AgentSpec("dTS"), AgentSpec("dTS", {"exploration": 0.5}), AgentSpec("LinTS", label="mine")
    assert [base_label(spec) for spec in (plain, scaled, named)] == ["dTS", "dTS", "mine"]
    assert base_label(at_exploration(named, 0.25)) == "mine"
    best = {"dTS": 0.5, "mine": 1.0}
    assert [spec.label for spec in with_tuned([plain, scaled, named], best)] == ["dTS", "dTS (exploration 0.5)", "mine"]
    best = {"dTS": 0.25, "mine": 0.25}
    listed = with_tuned([plain, scaled, named, AgentSpec("Random")], best)
    assert [(spec.label, spec.settings.get("exploration")) for spec in listed] == [
        ("dTS", None),
        ("dTS (exploration 0.25)", 0.25),
        ("dTS (exploration 0.5)", 0.5),
        ("mine", None),
        ("mine (exploration 0.25)", 0.25),
        ("Random", None),
    ]
    thief = AgentSpec("Random", label="dTS (exploration 0.25)")
    with pytest.raises(ValueError, match="must leave the label"):
        with_tuned([plain, thief], best)


def test_the_table_marks_the_best_and_tells_of_edges():
    result = tune(ENV, ["LinTS"], **{**ASKED, "grid": (1, 0.1)}, seeds=2)
    best = result.best["LinTS"]
    lines = tuning_table(result).splitlines()
    assert lines[0].split() == ["exploration", "1", "0.1"]
    assert lines[1].split().count("±") == 2
    assert lines[1].startswith("LinTS †")
    assert lines[1].endswith("*") == (best == 0.1)
    side, beyond = ("smallest", "smaller") if best == 0.1 else ("largest", "larger")
    assert lines[2:] == [
        "",
        f"† LinTS: least regret at exploration {best:g}, the {side} tried: the best may be {beyond}",
    ]
    means = [result.regret["LinTS"][value].mean() for value in (1.0, 0.1)]
    assert best == (1.0, 0.1)[int(np.argmin(means))]


@pytest.mark.parametrize("grid", [(), (1, 1.0), (0,), (-1,), ("x",), (float("nan"),)])
def test_grids_that_make_no_sense_are_refused(grid, tmp_path):
    with pytest.raises(ValueError, match="grid must be"):
        tune(ENV, ["LinTS"], num_rounds=5, grid=grid, out=tmp_path / "out")
    with pytest.raises(ValueError, match="grid must be"):
        compare(ENV, ["LinTS"], num_rounds=5, tune=True, grid=grid, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pinned_instance_cannot_be_tuned_on_and_reported(tmp_path):
    asked = {**ASKED, "env_settings": {**SMALL, "instance_seed": 3}}
    with pytest.raises(ValueError, match="pin the instance"):
        compare(ENV, ["LinTS"], **asked, tune=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tuning_can_have_settings_of_its_own():
    env = {"num_actions": 4, "dim": 2, "horizon": 30}
    found = compare(
        "DiffusionBandit-v0", ["LinTS"], seeds=2, env_settings=env, tune=True, grid=(0.5,), tuning_seeds=1,
        bracket=False, tuning_settings={"num_actions": 7},
    )  # fmt: skip
    assert found.experiment.env_settings["num_actions"] == 4
    assert found.tuning.experiment.env_settings == env | {"num_actions": 7}
    with pytest.raises(ValueError, match="tuning_settings must be left out without tune, got "):
        compare("DiffusionBandit-v0", ["LinTS"], env_settings=env, tuning_settings={"num_actions": 7})
    with pytest.raises(ValueError, match=r"tuning_settings must be a mapping of names to values, got \[7\]"):
        compare("DiffusionBandit-v0", ["LinTS"], env_settings=env, tune=True, tuning_settings=[7])
    with pytest.raises((ValueError, TypeError), match="movies"):
        compare("DiffusionBandit-v0", ["LinTS"], env_settings=env, tune=True, tuning_settings={"movies": 7})
