"""How objects print: short, of what matters, and safe to put on a page."""

import re
import sys
from dataclasses import dataclass
from html.parser import HTMLParser

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

import dts_gym
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, RunRecord
from dts_gym.harness.runner import RunResult
from dts_gym.registry import agent_ids
from dts_gym.sweeps import Sweep, run_sweep
from dts_gym.utils.shown import Shown
from dts_gym.utils.tables import html_table


class Cells(HTMLParser):
    """The cells of the tables in a page, row by row; every tag must be closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.notes = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.notes.append(data)


def made_up(labels, regrets):
    """A comparison whose final regrets are given, (agents, seeds)."""
    runs = {
        label: tuple(
            RunRecord(s, 0, 0, np.arange(1, 3), np.array([0.5, value]), 7.0, 1.0, 1.0) for s, value in enumerate(row)
        )
        for label, row in zip(labels, regrets, strict=True)
    }
    specs = tuple(AgentSpec("Random", label=label) for label in labels)
    return Comparison(Experiment("Some-v0", {}, specs, tuple(range(len(regrets[0]))), 2), runs)


@pytest.fixture(scope="module")
def env():
    made = gym.make("DiffusionBandit-v0", num_actions=10, dim=3)
    made.reset(seed=0)
    return made


@pytest.mark.parametrize("agent_id", [name for name in agent_ids() if name not in ("LaplaceDPS", "meTS", "SB3")])
def test_an_agent_says_its_id_sizes_and_what_it_has_learned(env, agent_id):
    agent = dts_gym.make_agent(agent_id, env, seed=0)
    agent.update([0.5, 0.5, 0.5], 2, 1.0)
    text = repr(agent)
    assert text.startswith(f"{agent_id}(")
    assert text.endswith("num_actions=10, dim=3, num_updates=1)")
    assert len(text) < 100
    assert ["num_updates", "1"] in Cells(agent._repr_html_()).rows


def test_an_agent_shows_the_settings_that_were_changed(env):
    agent = dts_gym.make_agent("LinTS", env, seed=0, exploration=np.float64(0.3), prior_cov=np.eye(3))
    assert repr(agent).startswith("LinTS(exploration=0.3, prior_cov=array of shape (3, 3), num_actions")
    assert "branch=1" in repr(dts_gym.make_agent("dTS", env, seed=0, branch=1))
    assert "exploration='horizon'" in repr(dts_gym.make_agent("dUCB", env, seed=0))
    assert "branch" not in repr(dts_gym.make_agent("dTS", env, seed=0))


def test_nothing_that_users_meet_prints_an_address_or_an_array(env):
    problem = env.unwrapped.problem
    mlp = gym.make("DiffusionBandit-v0", num_actions=4, dim=3, link="mlp", reward="poisson").unwrapped.problem
    result = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), num_rounds=30, seed=0)
    objects = [problem, mlp, mlp.prior.links[0], problem.prior.links[0], env.unwrapped.instance, result]
    objects += [AgentSpec("dTS"), dts_gym.GaussianReward(0.5)]
    for shown in objects:
        assert "0x" not in repr(shown)
        assert "array(" not in repr(shown)
        assert len(repr(shown)) < 250
    assert repr(mlp.reward_model) == "PoissonReward()"
    assert repr(dts_gym.GaussianReward(0.5)) == "GaussianReward(noise_std=0.5)"
    assert "links='MLPLink'" in repr(mlp.prior)


def test_a_run_says_its_regret_and_of_several_instances_the_mean():
    one = RunResult(np.array([0.5, 2.5]), np.array([1.0, 2.0]), np.array([0, 1]), 1e-6, 1e-6)
    assert repr(one) == "RunResult(rounds=2, regret=2.5, mean_reward=1.5, microseconds_per_round=1.0)"
    unknown = RunResult(np.full(2, np.nan), np.array([1.0, 2.0]), np.array([0, 1]), 1e-6, 1e-6)
    assert "regret" not in repr(unknown)
    two = RunResult(np.array([[0.5, 2.0], [0.0, 4.0]]), np.ones((2, 2)), np.zeros((2, 2), dtype=np.int64), 0.0, 0.0)
    assert "instances=2, rounds=2, regret='3.0 ± 1.0'" in repr(two)


def test_a_comparison_says_regret_intervals_and_paired_differences():
    rng = np.random.default_rng(0)
    regrets = rng.normal([[50.0], [60.0]], 5.0, size=(2, 8))
    comparison = made_up(["one", "other"], regrets)
    title, header, first, second = repr(comparison).splitlines()
    assert title == "2 agents on Some-v0: 2 rounds, 8 seeds"
    assert header.split("   ")[0] == "agent"
    assert "more than one" in header
    own = stats.ttest_1samp(regrets[1], 0.0).confidence_interval(0.95)
    paired = stats.ttest_rel(regrets[1], regrets[0]).confidence_interval(0.95)
    assert f"{own.low:.4g} to {own.high:.4g}" in second
    assert f"{(regrets[1] - regrets[0]).mean():.4g} ({paired.low:.4g} to {paired.high:.4g})" in second
    assert "(" not in first  # nothing to hold it against
    cells = Cells(comparison._repr_html_())
    assert cells.rows[2][0] == "other"
    assert cells.rows[2][3] in second
    alone = repr(made_up(["one"], [[3.0]]))
    assert "nan" not in alone
    assert len(alone.splitlines()) == 3


def test_labels_are_text_on_a_page():
    comparison = made_up(["<script>alert(1)</script>", 'a"b'], [[1.0, 2.0], [3.0, 4.0]])
    page = comparison._repr_html_()
    assert "<script>" not in page
    assert Cells(page).rows[1][0] == "<script>alert(1)</script>"
    assert Cells(html_table([['"><b>'], ["x"]])).rows == [['"><b>'], ["x"]]

    @dataclass(repr=False)
    class Named(Shown):
        name: str

    assert ["name", "'<b>'"] in Cells(Named("<b>")._repr_html_()).rows


def test_a_comparison_as_a_data_frame():
    pandas = pytest.importorskip("pandas")
    comparison = made_up(["one", "other"], [[1.0, 2.0], [3.0, 4.0]])
    frame = comparison.to_pandas()
    assert list(frame.columns) == ["agent", "seed", "regret", "total_reward", "microseconds_per_round"]
    assert frame.groupby("agent")["regret"].mean().to_dict() == {"one": 1.5, "other": 3.5}
    curves = comparison.to_pandas(over_rounds=True)
    assert list(curves.columns) == ["agent", "seed", "round", "regret"]
    assert curves[(curves.agent == "other") & (curves.seed == 1)].regret.tolist() == [0.5, 4.0]
    assert curves["round"].max() == 2
    assert isinstance(frame, pandas.DataFrame)


def test_runs_tunings_and_sweeps_as_data_frames(env):
    pytest.importorskip("pandas")
    result = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), num_rounds=5, seed=0)
    frame = result.to_pandas()
    assert list(frame.columns) == ["round", "action", "reward", "regret"]
    np.testing.assert_array_equal(frame.regret, result.regret)
    two = RunResult(np.array([[0.5, 2.0], [0.0, 4.0]]), np.ones((2, 2)), np.array([[1, 2], [3, 4]]), 0.0, 0.0)
    assert two.to_pandas().query("instance == 1 and round == 2")[["action", "regret"]].values.tolist() == [[4, 4.0]]
    tuning = dts_gym.tune("DiffusionBandit-v0", ["LinTS"], grid=(1, 0.1), seeds=2, num_rounds=10, bracket=False)
    tried = tuning.to_pandas()
    assert len(tried) == 4
    assert tried[tried.best].exploration.unique().tolist() == [tuning.best["LinTS"]]
    assert tried[tried.exploration == 0.1].regret.tolist() == tuning.regret["LinTS"][0.1].tolist()
    assert re.search(r"LinTS .*\*", repr(tuning))
    sweep = Sweep([{"id": "DiffusionBandit-v0", "num_actions": [5, 6]}], ["Random"], seeds=2, rounds=10)
    cells = run_sweep(sweep, backend="serial")
    assert cells.to_pandas().groupby("cell").size().to_dict() == dict.fromkeys(cells.cells, 2)
    assert repr(cells).startswith("Sweep of 2 cells\n")


def test_without_pandas_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install -c constraints.txt -e '\.\[pandas\]'"):
        made_up(["one"], [[1.0]]).to_pandas()
