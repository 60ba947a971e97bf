"""Agents with rules of exploration: how they count time, batches, files, runs."""

import math

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, GaussianReward, agents, compare, make_agent, random_linear_prior, random_mlp_prior
from dts_gym.harness.records import load_records
from dts_gym.posteriors.exploration import largest_normal_mean

K, D = 20, 3


def problem(horizon=200, **settings):
    return BanditProblem(K, D, random_linear_prior(D, 2), GaussianReward(1.0), horizon=horizon, **settings)


def bound(t, n):
    return max(1 - min(t, n) / n, 0.05) * math.sqrt(math.log(1 + K * n / D))


def play(agent, rounds, seed=0):
    rng = np.random.default_rng(seed)
    for x in rng.uniform(-1, 1, (rounds, D)):
        agent.update(x, agent.act(x), float(rng.normal()))


def test_without_a_word_dts_draws_at_1_and_bounds_fall_over_the_horizon():
    assert make_agent("dTS", problem()).exploration == 1.0
    assert make_agent("dUCB", problem()).exploration == "horizon"
    assert make_agent("dUCB", problem(None)).exploration == "max"
    assert make_agent("dUCB", problem(None)).exploration_scale == largest_normal_mean(K)
    assert make_agent("dUCB", problem(None), horizon=50).exploration_scale == pytest.approx(bound(0, 50))
    assert make_agent("LinUCB", problem()).exploration_scale == 1.0


def test_time_is_the_rewards_learned_since_the_first_choice():
    agent = make_agent("dUCB", problem(100), seed=0)
    rng = np.random.default_rng(0)
    agent.update(rng.uniform(-1, 1, (30, D)), rng.integers(K, size=30), rng.normal(size=30))  # a log: no time passes
    assert agent.exploration_scale == pytest.approx(bound(0, 100))
    contexts = rng.uniform(-1, 1, (10, D))
    actions = agent.act(contexts)
    assert agent.exploration_scale == pytest.approx(bound(0, 100))  # rewards that are late
    agent.act(contexts[0])
    agent.update(contexts[:4], actions[:4], np.zeros(4))
    assert agent.exploration_scale == pytest.approx(bound(4, 100))
    agent.update(contexts[4:], actions[4:], np.zeros(6))
    assert agent.exploration_scale == pytest.approx(bound(10, 100))
    play(agent, 150)
    assert agent.exploration_scale == pytest.approx(bound(100, 100))  # past the horizon the least that is left
    agent.reset(0)
    assert agent.exploration_scale == pytest.approx(bound(0, 100))


def test_a_run_says_how_long_it_is_and_a_plan_begins_anew_with_it():
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D, horizon=500)
    agent = make_agent("dUCB", env, seed=0)
    assert agent.exploration_scale == pytest.approx(bound(0, 500))
    dts_gym.run(env, agent, 60, seed=0)
    assert agent.exploration_scale == pytest.approx(bound(60, 60))
    agent.begin_run(80)
    assert agent.exploration_scale == pytest.approx(bound(0, 80))
    own = make_agent("dUCB", env, seed=0, horizon=1000)
    dts_gym.run(env, own, 60, seed=0)
    assert own.exploration_scale == pytest.approx(bound(60, 1000))  # its own horizon comes first
    dts_gym.run(env, own, 10, seed=0, warm_start=True)
    assert own.exploration_scale == pytest.approx(bound(10, 1000))


def test_a_vector_run_tells_every_agent():
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=3, num_actions=K, dim=D)
    team = make_agent("dUCB", envs, seed=0).spawn(3)
    dts_gym.run(envs, team, 20, seed=0)
    assert [one.exploration_scale for one in team] == pytest.approx([bound(20, 20)] * 3)
    pinned = gym.make_vec("DiffusionBandit-v0", num_envs=3, num_actions=K, dim=D, instance_seed=1)
    agent = make_agent("dUCB", pinned, seed=0)
    dts_gym.run(pinned, agent, 20, seed=0)
    assert agent.exploration_scale == pytest.approx(bound(60, 60))  # it learns three rewards a round


def test_a_rule_that_needs_a_horizon_is_refused_where_nobody_tells_one():
    for agent_id, rule in (("LinUCB", "horizon"), ("LinTS", "decay"), ("dUCB", "horizon")):
        agent = make_agent(agent_id, problem(None), seed=0, exploration=rule)
        with pytest.raises(ValueError, match="horizon must be given for exploration"):
            agent.act(np.ones(D))


@pytest.mark.parametrize(
    ("agent_id", "settings"),
    [
        ("dUCB", {}),
        ("dUCB", {"exploration": "max"}),
        ("LinUCB", {"exploration": "horizon"}),
        ("dTS", {"exploration": "decay"}),
        ("LinTS", {"exploration": "decay", "horizon": 70}),
        ("TunedTS", {"exploration": "decay"}),
    ],
)
def test_a_saved_agent_continues_in_the_middle_of_its_plan(tmp_path, agent_id, settings):
    agent = make_agent(agent_id, problem(), seed=0, **settings)
    agent.begin_run(90)
    play(agent, 40)
    agent.save(tmp_path / "agent.npz")
    loaded = agents.Agent.load(tmp_path / "agent.npz")
    assert loaded.exploration == agent.exploration
    assert loaded.exploration_scale == agent.exploration_scale
    x = np.random.default_rng(5).uniform(-1, 1, (30, D))
    for one in x:
        assert loaded.act(one) == agent.act(one)
        loaded.update(one, 1, 0.5)
        agent.update(one, 1, 0.5)


def test_a_function_is_refused_where_it_cannot_be_kept(tmp_path):
    agent = make_agent("dUCB", problem(), seed=0, exploration=lambda t, n: 2.0)
    assert agent.exploration_scale == 2.0
    with pytest.raises(ValueError, match="exploration must be no function"):
        agent.save(tmp_path / "agent.npz")
    assert not (tmp_path / "agent.npz").exists()
    spec = dts_gym.AgentSpec("dUCB", {"exploration": lambda t, n: 2.0})
    assert compare("DiffusionBandit-v0", [spec], seeds=1, num_rounds=3).labels == ["dUCB (exploration function)"]
    with pytest.raises(ValueError, match="exploration must be no function where runs go to other processes"):
        compare("DiffusionBandit-v0", [spec], seeds=2, num_rounds=3, num_workers=2)
    with pytest.raises(ValueError, match="must be plain data"):
        compare("DiffusionBandit-v0", [spec], seeds=2, num_rounds=3, out=tmp_path / "out")


def test_slice_chains_follow_one_scale():
    mlp = BanditProblem(5, 2, random_mlp_prior(2, 1), GaussianReward(1.0))
    with pytest.raises(ValueError, match="exploration must be a number for approximation 'slice', got 'horizon'"):
        make_agent("dUCB", mlp, approximation="slice", exploration="horizon")
    assert make_agent("dUCB", mlp, approximation="slice", num_particles=2).exploration_scale == 1.0


@pytest.mark.parametrize("agent_id", ["EpsilonGreedy", "Random", "Oracle"])
def test_agents_without_a_scale_take_no_rule(agent_id):
    with pytest.raises(ValueError, match="exploration"):
        make_agent(agent_id, problem(), exploration="decay")


def test_a_batch_under_a_bound_spreads_and_leaves_the_agent_as_it_was():
    agent = make_agent("dUCB", problem(), seed=0)
    play(agent, 30)
    before = {name: array.copy() for name, array in agent._state().items()}
    x = np.full((25, D), 0.4)
    together = agent.act(x)
    assert len(np.unique(together)) > 5
    assert len({agent.act(x[0]) for _ in range(25)}) < len(np.unique(together))
    for name, array in agent._state().items():
        np.testing.assert_array_equal(array, before[name])


def test_rules_on_the_way_through_a_comparison(tmp_path):
    specs = ["dUCB:exploration=horizon", "LinUCB:exploration=max", "dTS:exploration=decay"]
    found = compare("DiffusionBandit-v0", specs, seeds=2, num_rounds=30, out=tmp_path / "out")
    assert found.labels == ["dUCB (exploration horizon)", "LinUCB (exploration max)", "dTS (exploration decay)"]
    again = load_records(tmp_path / "out")
    assert again.labels == found.labels
    np.testing.assert_array_equal(again.regret(found.labels[0]), found.regret(found.labels[0]))


def test_a_mask_a_row_leaves_the_picks_of_a_batch_in_order():
    agent = make_agent("dUCB", problem(), seed=0)
    play(agent, 30)
    x, allowed = np.full((15, D), 0.4), np.ones(K, dtype=bool)
    allowed[3] = False
    rows = np.tile(allowed, (15, 1))
    rows[7, agent.act(x[0])] = False
    together = agent.act(x, rows)
    assert len(np.unique(together)) == len(np.unique(agent.act(x, allowed))) > 3
    assert rows[np.arange(15), together].all()


@pytest.mark.parametrize(
    ("branch", "depth", "settings"),
    [(0, 2, {}), (1, 2, {}), (2, 2, {}), (1, 3, {"approximation": "linearised"}), (2, 3, {"surrogate": "statistical"})],
)
@pytest.mark.parametrize("played", [1, 4])
def test_batches_under_a_bound_on_perceptrons_of_any_branch(branch, depth, settings, played):
    chain = random_mlp_prior(2, depth).with_branch(branch)
    agent = make_agent("dUCB", BanditProblem(8, 2, chain, GaussianReward(1.0)), seed=0, **settings)
    for i in range(6):
        agent.update(np.eye(2)[i % 2], i % played, 1.0)
    before = {name: array.copy() for name, array in agent._state().items()}
    chosen = agent.act(np.ones((6, 2)))
    assert len(np.unique(chosen)) > 1
    for name, array in agent._state().items():
        np.testing.assert_array_equal(array, before[name])
    twin = make_agent("dUCB", agent.problem, seed=0, **settings)
    for i in range(6):
        twin.update(np.eye(2)[i % 2], i % played, 1.0)
    assert agent._posterior.upper_confidence(np.ones(2), np.random.default_rng(0), 2.0) == (
        twin._posterior.upper_confidence(np.ones(2), np.random.default_rng(0), 2.0)
    )


@pytest.mark.parametrize("plan", [["x", 1], [0, -3], [30, None], [0]])
def test_a_damaged_plan_in_a_file_is_refused(tmp_path, plan):
    agent = make_agent("dUCB", problem(), seed=0)
    play(agent, 20)
    agent._plan = plan
    agent.save(tmp_path / "agent.npz")
    with pytest.raises(ValueError, match="path must be a whole file of DiffusionUCB"):
        agents.Agent.load(tmp_path / "agent.npz")


def test_where_all_actions_share_a_parameter_the_rule_counts_one():
    """20 actions whose features differ: log(1 + n / d), not log(1 + 20 n / d)."""
    shared = BanditProblem(20, 3, random_linear_prior(3, 1), GaussianReward(), features="shared", horizon=90)
    assert make_agent("dUCB", shared, seed=0).exploration_scale == pytest.approx(np.sqrt(np.log(31)))
