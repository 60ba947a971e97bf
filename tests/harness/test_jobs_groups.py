"""Runs that advance together: the same numbers as one by one, and a stop loses a group in flight, no more."""

import json
import time

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym.agents import LinTS
from dts_gym.harness import groups as groups_of_runs
from dts_gym.harness import jobs
from dts_gym.harness.agent_texts import parse_agent
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import AgentSpec, Experiment
from dts_gym.harness.groups import Group, grouped
from dts_gym.harness.records import load_records

LINEAR = ["dTS", "dUCB", "LinTS", "LinUCB", "HierTS", "MarginalLinTS", "TunedTS", "TunedUCB", "LinTS:intercept=true"]
SETTINGS = {
    "regime": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 3, "horizon": 120}, True),
    "one prior": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 3, "horizon": 120, "feature_law": "sphere"}, False),
    "pinned": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 3, "horizon": 120, "instance_seed": 3}, False),
    "clicks": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 3, "horizon": 120, "reward": "bernoulli"}, True),
    "counts": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 3, "horizon": 60, "reward": "poisson"}, True),
    "perceptrons": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 3, "horizon": 40, "link": "mlp"}, True),
    "deep": ("DiffusionBandit-v0", {"num_actions": 12, "dim": 5, "depth": 4, "horizon": 40, "link": "mlp"}, True),
    "shape": ("SyntheticBandit-v0", {"shape": "rays", "dim": 2, "num_actions": 12, "horizon": 120}, False),
}


def numbers(comparison):
    return {label: [(run.regret, run.total_reward) for run in comparison.runs[label]] for label in comparison.labels}


@pytest.mark.parametrize("setting", SETTINGS)
def test_regrets_are_those_of_runs_one_by_one(setting, monkeypatch):
    env_id, settings, redraw = SETTINGS[setting]
    agents = LINEAR
    if setting == "clicks":
        agents = ["LinTS:noise_std=0.5", "LinUCB:noise_std=0.5", "dTS", "dUCB", "GLM-TS", "UCB-GLM", "dTS:branch=2"]
    if setting == "counts":
        agents = ["dTS", "dUCB", "GLM-TS", "UCB-GLM"]
    if setting in {"perceptrons", "deep"}:
        agents = ["dTS:num_particles=8", "dUCB:num_particles=8"]
    if setting == "shape":
        agents = ["LinTS", "TunedTS", "TunedUCB"]
    asked = {"seeds": 5, "env_settings": settings, "redraw_prior": redraw}
    groups, run_group = [], jobs._run_group
    monkeypatch.setattr(jobs, "_run_group", lambda group, *rest: groups.append(group) or run_group(group, *rest))
    together = compare(env_id, agents, **asked)
    assert sum(len(group.jobs) == 5 for group in groups) == len(agents)
    monkeypatch.setattr(groups_of_runs, "_LEAST_RUNS", 10**9)
    alone = numbers(compare(env_id, agents, **asked))
    assert {len(group.jobs) for group in groups[-5 * len(agents) :]} == {1}
    for label, runs in numbers(together).items():
        for (regret, total), (own, own_total) in zip(runs, alone[label], strict=True):
            np.testing.assert_allclose(regret, own, rtol=1e-12)
            np.testing.assert_allclose(total, own_total, rtol=1e-12)


def test_bytes_do_not_depend_on_the_size_of_groups(monkeypatch):
    asked = {"seeds": 7, "env_settings": {"num_actions": 12, "dim": 3, "horizon": 150}, "redraw_prior": True}
    found = []
    for size in (1, 3, 7):
        monkeypatch.setattr(groups_of_runs, "_MOST_TOGETHER", size)
        found.append(
            {
                label: [(regret.tobytes(), total) for regret, total in runs]
                for label, runs in numbers(compare("DiffusionBandit-v0", ["dTS", "dUCB", "LinTS"], **asked)).items()
            }
        )
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.parametrize("agent_id", ["dTS", "dUCB", "GLM-TS"])
def test_runs_under_clicks_are_those_one_by_one_in_groups_of_any_size(agent_id, monkeypatch):
    asked = {"seeds": 20, "env_settings": {"num_actions": 30, "dim": 3, "horizon": 500, "reward": "bernoulli"}}
    found = []
    for size in (1, 3, 7, 20):
        monkeypatch.setattr(groups_of_runs, "_MOST_TOGETHER", size)
        runs = numbers(compare("DiffusionBandit-v0", [agent_id], redraw_prior=True, **asked))[agent_id]
        found.append([(regret.tobytes(), total) for regret, total in runs])
    assert found[0] == found[1] == found[2] == found[3]
    monkeypatch.setattr(groups_of_runs, "_LEAST_RUNS", 10**9)
    alone = numbers(compare("DiffusionBandit-v0", [agent_id], redraw_prior=True, **asked))[agent_id]
    for (regret, total), (own, own_total) in zip(runs, alone, strict=True):
        np.testing.assert_allclose(regret, own, rtol=1e-12)
        np.testing.assert_allclose(total, own_total, rtol=1e-12)


@pytest.mark.slow
def test_bytes_of_perceptrons_do_not_depend_on_the_size_of_groups(monkeypatch):
    settings = {"num_actions": 30, "dim": 3, "horizon": 100, "link": "mlp"}
    found = []
    for size in (1, 7, 20):
        monkeypatch.setattr(groups_of_runs, "_MOST_TOGETHER", size)
        runs = compare("DiffusionBandit-v0", ["dTS"], seeds=20, env_settings=settings, redraw_prior=True)
        found.append([(regret.tobytes(), total) for regret, total in numbers(runs)["dTS"]])
    assert found[0] == found[1] == found[2]


def experiment(agents, seeds=10, num_rounds=100, **settings):
    given = {"num_actions": 10, "dim": 3, "horizon": num_rounds, **settings}
    return Experiment("DiffusionBandit-v0", given, tuple(map(AgentSpec, agents)), tuple(range(seeds)), num_rounds)


def all_jobs(asked):
    return [(0, seed, index) for seed in asked.seeds for index in range(len(asked.agents))]


@pytest.mark.parametrize(
    ("asked", "workers", "sizes"),
    [
        (experiment(["dTS", "JointTS"]), 1, [10] + [1] * 10),
        (experiment(["dTS"], seeds=120), 1, [50, 50, 20]),
        (experiment(["dTS"]), 2, [3, 3, 3, 1]),
        (experiment(["dTS", "LinTS"]), 2, [5, 5, 5, 5]),
        (experiment(["dTS"], seeds=30, num_rounds=200_000), 1, [15, 15]),
        (experiment(["dTS"], seeds=30, num_rounds=10_000_000), 1, [8, 8, 8, 6]),
        (experiment(["dTS"], seeds=30, num_rounds=50_000, reward="bernoulli"), 1, [10, 10, 10]),
        (experiment(["dTS"], seeds=3), 1, [1, 1, 1]),
        (experiment(["dTS"], num_actions=5000, dim=10), 1, [1] * 10),
    ],
)
def test_groups_hold_small_tables_on_many_seeds(asked, workers, sizes):
    groups = grouped(all_jobs(asked), [asked], workers)
    assert sorted((len(group.jobs) for group in groups), reverse=True) == sizes
    assert sorted(job for group in groups for job in group.jobs) == sorted(all_jobs(asked))
    assert [group.jobs[0] for group in groups] == sorted(group.jobs[0] for group in groups)
    assert all(len({(number, index) for number, _, index in group.jobs}) == 1 for group in groups)
    assert all(isinstance(group, Group) for group in groups)


def test_scales_of_one_agent_advance_together_and_change_no_number(monkeypatch):
    agents = ["dTS", "dTS:exploration=0.5", "dTS:exploration=0.25", "dTS:branch=1"]
    asked = Experiment(
        "DiffusionBandit-v0",
        {"num_actions": 12, "dim": 3, "horizon": 120},
        tuple(map(parse_agent, agents)),
        (0, 1),
        120,
    )
    groups = grouped(all_jobs(asked), [asked], 1)
    assert [len(group.jobs) for group in groups] == [6, 1, 1]  # two seeds alone are too few
    settings = {"seeds": 4, "env_settings": dict(asked.env_settings), "redraw_prior": True}
    together = numbers(compare("DiffusionBandit-v0", agents[:3], **settings))
    for label in together:
        monkeypatch.setattr(groups_of_runs, "_MOST_TOGETHER", 1)
        alone = numbers(compare("DiffusionBandit-v0", [agents[list(together).index(label)]], **settings))[label]
        assert [(a.tobytes(), b) for a, b in together[label]] == [(a.tobytes(), b) for a, b in alone]


def test_a_stop_loses_the_group_in_flight_and_resuming_has_the_same_bytes(tmp_path, monkeypatch, stopped_after):
    monkeypatch.setattr(groups_of_runs, "_MOST_TOGETHER", 3)
    asked = {"seeds": 7, "env_settings": {"num_actions": 12, "dim": 3, "horizon": 60}}

    def play(out, **more):
        return compare("DiffusionBandit-v0", ["dTS", "LinUCB"], out=out, **asked, **more)

    with stopped_after(4):
        play(tmp_path / "stopped")
    assert len(list((tmp_path / "stopped").rglob("*.npz"))) == 4
    play(tmp_path / "stopped", resume=True)
    play(tmp_path / "straight")
    held = {
        folder: {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*.npz")}
        for folder in ("stopped", "straight")
    }
    assert held["stopped"] == held["straight"]
    assert len(held["straight"]) == 14


def test_records_count_cpu_time_whatever_else_the_machine_does(tmp_path):
    """Time in which an agent only waits passes, and costs no CPU time; times that are not known are told so."""

    class Sleeper(LinTS):
        def _choose(self, contexts, rng, mask):
            time.sleep(0.02)
            return super()._choose(contexts, rng, mask)

    env = gym.make("DiffusionBandit-v0", num_actions=3, dim=2, horizon=20)
    slow = dts_gym.run(env, Sleeper(env.unwrapped.problem, seed=0), 20, seed=0)
    assert slow.act_seconds > 20 * 0.02
    assert 0 < slow.cpu_seconds < 0.5 * slow.act_seconds
    assert slow.microseconds_per_round == pytest.approx(1e6 * slow.cpu_seconds / 20)
    asked = {"seeds": 5, "env_settings": {"num_actions": 3, "dim": 2, "horizon": 20}, "out": tmp_path / "out"}
    kept = compare("DiffusionBandit-v0", ["dTS", "JointTS"], **asked)
    read = load_records(tmp_path / "out")
    for label in ("dTS", "JointTS"):
        for mine, theirs in zip(kept.runs[label], read.runs[label], strict=True):
            assert mine.cpu_seconds == theirs.cpu_seconds > 0
            assert theirs.blas_threads == 1
    for path in (tmp_path / "out" / "log").rglob("*.json"):
        old = json.loads(path.read_text())
        path.write_text(json.dumps({name: old[name] for name in ("act_seconds", "update_seconds")}))
    older = load_records(tmp_path / "out").runs["dTS"][0]
    assert np.isnan(older.cpu_seconds)
    assert older.blas_threads is None
    assert older.microseconds_per_round == pytest.approx(1e6 * (older.act_seconds + older.update_seconds) / 20)
