"""Agents that choose their exploration by simulating what they believe."""

import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import (
    BanditProblem,
    GaussianReward,
    LinearDiffusionPrior,
    Prior,
    choose_exploration,
    make_agent,
    random_linear_prior,
)
from dts_gym.agents.auto.choosing import BOUNDS, DRAWS, DRAWS_BESIDE, decided, staged
from dts_gym.agents.auto.exploration_tuning import ExplorationTuning
from dts_gym.agents.auto.simulation import Contexts, rewards_of
from dts_gym.agents.lockstep import StackedTeam
from dts_gym.posteriors.exploration import Exploration

WAYS = {"dTS": (*BOUNDS, *DRAWS_BESIDE), "dUCB": BOUNDS, "LinUCB": BOUNDS, "LinTS": DRAWS, "HierTS": DRAWS}
SHORT = {"tuning_rounds": 4000}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Nothing that another test chose is found."""
    from dts_gym.agents.auto import choosing

    choosing._answer.cache_clear()
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))


def small(horizon=40, **settings):
    prior = random_linear_prior(2, 2)
    contexts = np.random.default_rng(3).uniform(-1, 1, (30, 2))
    return BanditProblem(4, 2, prior, GaussianReward(1.0), horizon=horizon, **{"context_sample": contexts, **settings})


@pytest.mark.parametrize("agent_id", WAYS)
def test_an_agent_chooses_at_its_first_act_among_what_it_may_do(agent_id):
    agent = make_agent(agent_id, small(), seed=0, exploration="auto", **SHORT)
    assert agent.tuning is None
    assert agent.exploration == "auto"
    agent.spawn(2)
    assert agent.tuning is None
    agent.act([0.1, 0.2])
    assert agent.tuning.rules == WAYS[agent_id]
    assert agent.exploration == "auto"
    rule = agent.tuning.choice
    assert agent.exploration_scale == rule.scale(0, 40, num_actions=4, dim=2)
    assert str(rule) in str(agent.tuning)
    assert agent.tuning.to_pandas()["chosen"].sum() == 1
    assert agent.tuning.instance_rounds <= 4000


def test_choosing_draws_nothing_from_the_agents_streams():
    problem, x = small(), np.random.default_rng(1).uniform(-1, 1, (30, 2))
    tuned = make_agent("LinTS", problem, seed=5, exploration="auto", **SHORT)
    tuned.choose_exploration()
    rule = tuned.tuning.choice
    plain = make_agent("LinTS", problem, seed=5, exploration=rule.setting)
    plain._exploration = rule
    for row in x:
        assert tuned.act(row) == plain.act(row)
        for agent in (tuned, plain):
            agent.update(row, 1, 0.5)


SCRIPT = """
import json, sys
sys.path.insert(0, "tests/agents")
import test_auto
print(json.dumps(test_auto.choose_exploration(test_auto.small(), "dTS", seed=7, tuning_rounds=4000).state()))
"""


def test_the_choice_is_the_same_again_in_another_process_and_after_load(tmp_path):
    found = choose_exploration(small(), "dTS", seed=7, **SHORT)
    printed = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout.splitlines()[-1]) == found.state()
    agent = make_agent("dTS", small(), seed=0, exploration="auto", **SHORT)
    agent.act([0.1, 0.2])
    agent.save(tmp_path / "agent")
    loaded = dts_gym.agents.Agent.load(tmp_path / "agent")
    assert loaded.tuning.state() == agent.tuning.state()
    assert loaded.exploration_scale == agent.exploration_scale
    x = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    np.testing.assert_array_equal(loaded.act(x), agent.act(x))


def test_the_seed_changes_what_is_simulated():
    one, other = (choose_exploration(small(), "LinTS", seed=seed, **SHORT) for seed in (0, 1))
    assert not np.array_equal(one.gain, other.gain)


def test_the_choice_is_kept_on_disk_and_a_damaged_file_is_replaced(tmp_path):
    from dts_gym.agents.auto import choosing

    found = choose_exploration(small(), "LinTS", **SHORT)
    (path,) = (tmp_path / "cache" / "explorations").glob("*.json")
    text = path.read_text().replace('"num_rounds": 40', '"num_rounds": 41')
    choosing._answer.cache_clear()
    path.write_text(text)
    assert choose_exploration(small(), "LinTS", **SHORT).num_rounds == 41  # read, not made again
    choosing._answer.cache_clear()
    path.write_text("{")
    with pytest.warns(UserWarning, match="made anew"):
        again = choose_exploration(small(), "LinTS", **SHORT)
    assert again.state() == found.state()


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch):
    found = choose_exploration(small(), "LinTS", **SHORT)
    from dts_gym.agents.auto import choosing

    choosing._answer.cache_clear()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "file"))
    assert choose_exploration(small(), "LinTS", **SHORT).state() == found.state()


class Uniform(Prior):
    """A prior that cannot be saved."""

    dim = 2

    def sample(self, rng, num_actions):
        return rng.uniform(-1, 1, (num_actions, 2))

    def state(self):
        raise ValueError("prior cannot be saved")


def test_a_prior_that_cannot_be_saved_is_simulated_all_the_same():
    problem = BanditProblem(4, 2, Uniform(), GaussianReward(), horizon=40, context_sample=np.eye(2))
    agent = make_agent("MarginalLinTS", problem, seed=0, exploration="auto", **SHORT)
    agent.act([0.5, 1.0])
    assert agent.tuning.num_instances.max() > 1


def test_an_environments_instance_cannot_change_the_choice():
    """Instances differ, and one cannot be read at all: the choice depends on the problem alone."""
    states = []
    for seed in (0, 1, None):
        env = gym.make("DiffusionBandit-v0", num_actions=4, dim=2, horizon=40)
        if seed is not None:
            env.reset(seed=seed)
        env.unwrapped.__class__ = type("Blind", (type(env.unwrapped),), {"instance": property(_refuse, _ignore)})
        agent = make_agent("dTS", env, seed=0, exploration="auto", **SHORT)
        agent.act(np.array([0.3, -0.2]))
        states.append(agent.tuning.state())
    assert states[0] == states[1] == states[2]


def _refuse(self):
    raise AssertionError("the instance was read")


def _ignore(self, value):
    """Nothing is kept."""


def test_without_contexts_an_agent_waits_for_fifty_and_goes_on_from_a_file(tmp_path):
    agent = make_agent("dTS", small(200, context_sample=None), seed=0, exploration="auto", **SHORT)
    x = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    for t in range(49):
        agent.update(x[t], agent.act(x[t]), 0.1)
    assert agent.tuning is None
    assert agent.exploration_scale == BOUNDS[0].scale(49, 200, num_actions=4, dim=2)
    agent.save(tmp_path / "agent")
    loaded = dts_gym.agents.Agent.load(tmp_path / "agent")
    agent.act(x[49])
    loaded.act(x[49])
    assert agent.tuning is not None
    assert agent.tuning.state() == loaded.tuning.state()
    told = make_agent("dTS", small(200, context_sample=None), seed=0, exploration="auto", contexts=x[:50], **SHORT)
    told.act(x[0])
    assert told.tuning.state() == agent.tuning.state()


@pytest.mark.parametrize("agent_id", ["LinTS", "dTS"])
def test_masks_batches_shared_features_and_intercepts(agent_id):
    mask = [True, False, False, True]
    agent = make_agent(agent_id, small(), seed=0, exploration="auto", **SHORT)
    assert set(agent.act(np.ones((9, 2)), mask=mask).tolist()) <= {0, 3}
    env = gym.make("SharedDiffusionBandit-v0", num_actions=4, dim=2, horizon=20, fixed_features=True)
    assert env.unwrapped.problem.fixed_context
    shared = make_agent(agent_id, env, seed=0, exploration="auto", tuning_rounds=2000)
    shared.act(env.reset(seed=0)[0], mask=mask)
    assert shared.tuning.num_instances.max() > 1
    if agent_id == "LinTS":
        one = make_agent(agent_id, small(), seed=0, exploration="auto", intercept=True, **SHORT)
        one.act([1.0, 2.0])
        assert one.tuning.num_instances.max() > 1


def test_agents_of_other_choices_play_as_a_team_as_by_themselves():
    def team():
        made = [make_agent("dTS", small(), seed=i, exploration="auto", **SHORT) for i in range(4)]
        for i, agent in enumerate(made):
            rules = (BOUNDS[2], DRAWS_BESIDE[0])
            none = np.zeros(2)
            agent.adopt_tuning(ExplorationTuning(rules, none.astype(int), none, none, i % 2, 40, 0))
        return made

    alone, together = team(), team()
    x = np.random.default_rng(0).uniform(-1, 1, (40, 4, 2))
    with together[0].together(together) as playing:
        assert isinstance(playing, StackedTeam)
        for rows in x:
            a = playing.act(rows)
            np.testing.assert_array_equal(a, [agent.act(row) for agent, row in zip(alone, rows, strict=True)])
            playing.update(rows, a, np.cos(3.0 * a))
            for agent, row, action in zip(alone, rows, a, strict=True):
                agent.update(row, action, np.cos(3.0 * action))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.marginals(x[0, 0])[0], other.marginals(x[0, 0])[0], rtol=1e-10)


def test_simulated_rewards_are_those_of_agents_that_play_one_by_one():
    """The same instances, contexts and noise, redrawn here, with an agent for each run and no team."""
    problem = small(25)
    rules = (BOUNDS[0], BOUNDS[2], DRAWS[2])
    contexts = Contexts(problem.context_sample, False)
    agent = make_agent("dTS", problem, seed=0)
    found = rewards_of(agent, rules, range(3), contexts, 25, seed=4)
    from dts_gym.utils.seeding import seed_sequence

    for i in range(3):
        root = np.random.SeedSequence(4, spawn_key=(i,))
        world = np.random.default_rng(seed_sequence(root, "simulation"))
        theta = agent._posterior.sample_parameters(world, 1.0)
        world.integers(30)
        picked, noise = world.integers(30, size=25), world.standard_normal(25)
        for c, rule in enumerate(rules):
            own = make_agent("dTS", problem, seed=root)
            own._follow(rule)
            total = 0.0
            for x, z in zip(problem.context_sample[picked], noise, strict=True):
                a = own.act(x)
                own.update(x, a, float(x @ theta[a] + z))
                total += float(x @ theta[a])
            assert found[c, i] == pytest.approx(total, rel=1e-9)


def test_parameters_of_simulated_instances_follow_the_agents_own_prior():
    """LinTS believes in N(2, 0.25 I) here, whatever the problem's prior; |z| < 4.5 is exceeded once in 150 000."""
    agent = make_agent("LinTS", small(), seed=0, prior_mean=[2.0, 2.0], prior_cov=0.25 * np.eye(2))
    ones = Contexts(np.array([[1.0, 0.0]]), False)
    total = rewards_of(agent, [Exploration(1.0, False)], range(400), ones, 1, seed=0)[0]
    assert abs((total.mean() - 2.0) / (0.5 / 20)) < 4.5


def test_a_candidate_that_is_no_better_beyond_doubt_leaves_the_first():
    rng = np.random.default_rng(0)
    base = rng.normal(size=100)
    rules = (BOUNDS[0], BOUNDS[1], BOUNDS[2])
    noise = rng.normal(size=100)
    lucky = base + noise - noise.mean() + 0.1  # ahead by one standard error
    assert decided(rules, [base, lucky, base[:20] + 9.0], 10, 0).chosen == 0
    assert decided(rules, [base, base + rng.normal(0.5, 1.0, 100), lucky], 10, 0).chosen == 1
    rare = base + np.where(np.arange(100) == 7, -60.0, 0.5)  # ahead in 99 of 100 instances, and behind in the mean
    assert decided(rules, [base, rare, lucky], 10, 0).chosen == 0


def test_stages_drop_the_worse_half_and_spend_what_they_are_given():
    asked = []

    def play(alive, first, count):
        asked.append((list(alive), first, count))
        rows = np.random.default_rng(first).normal(size=count)
        return np.array([rows + i for i in alive])

    totals = staged(play, 8, 400)
    assert asked[0] == ([*range(8)], 0, 16)
    assert sum(len(alive) * count for alive, _, count in asked) <= 400
    assert all(0 in alive for alive, _, _ in asked)
    assert max(len(total) for total in totals) == len(totals[7]) > len(totals[3]) == 16


def reveals_itself(horizon):
    """Two actions N(0, 1) whose rewards have next to no noise: a play reveals an action, and the other is worth a look
    while the first one's value is below a threshold that grows with the rounds left."""
    prior = LinearDiffusionPrior([np.eye(1)], [np.eye(1), np.eye(1)])
    return BanditProblem(2, 1, prior, GaussianReward(0.01), horizon=horizon, context_sample=np.ones((1, 1)))


def test_a_choice_is_what_is_best_where_that_is_known():
    """With two rounds left after a value v, the other action pays where E(Z - v)+ > v, which is v < 0.276.

    The default looks at values below 0.93. Of the candidates 0.25 and the default times 0.3, which is 0.279, are best.
    """
    found = choose_exploration(reveals_itself(3), "LinUCB", seed=1)
    assert found.choice in (Exploration("horizon", True, 0.3), Exploration(0.25, True))


def test_the_default_stays_where_it_is_best_and_greedy_candidates_lose():
    """With 300 rounds the best threshold is 2.07: the default's is 2.53, the next candidate's 1.77, and 0.25 loses."""
    found = choose_exploration(reveals_itself(300), "LinUCB", seed=1)
    assert found.chosen == 0
    loser = found.rules.index(Exploration(0.25, True))
    assert found.gain[loser] < 0
    assert found.num_instances[loser] < found.num_instances[0]


def test_short_runs_and_small_budgets_leave_the_default():
    for problem, settings in ((small(1), {}), (small(), {"tuning_rounds": 100})):
        found = choose_exploration(problem, "dTS", **settings)
        assert found.chosen == 0
        assert found.instance_rounds == 0
        assert "nothing was simulated" in str(found)


def test_what_cannot_choose_says_so():
    with pytest.raises(ValueError, match="'slice'"):
        make_agent("dTS", small(), exploration="auto", approximation="slice")
    with pytest.raises(ValueError, match="more than 500 numbers, got 600"):
        make_agent("JointTS", BanditProblem(300, 2, random_linear_prior(2, 1), GaussianReward()), exploration="auto")
    with pytest.raises(ValueError, match="horizon must be given for exploration 'auto'"):
        make_agent("dTS", small(None), exploration="auto").act([0.1, 0.2])
    with pytest.raises(ValueError, match="contexts must be left out"):
        make_agent("dTS", small(), contexts=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="tuning_rounds must be left out"):
        make_agent("dTS", small(), tuning_rounds=5)
    with pytest.raises(ValueError, match="agent that may choose"):
        choose_exploration(small(), "Greedy")
    with pytest.raises(ValueError, match="contexts must be given"):
        choose_exploration(small(context_sample=None), "dTS")


def test_records_and_tables_say_what_was_chosen(tmp_path):
    from dts_gym.harness.records import load_records

    asked = {"num_rounds": 30, "env_settings": {"num_actions": 4, "dim": 2, "horizon": 30}, "redraw_prior": True}
    agents = ["dTS:exploration=auto,tuning_rounds=3000", "LinTS"]
    each = dts_gym.compare("DiffusionBandit-v0", agents, seeds=4, out=tmp_path / "each", **asked)
    once = dts_gym.compare("DiffusionBandit-v0", agents, seeds=4, out=tmp_path / "once", auto_once=True, **asked)
    label = each.labels[0]
    assert len({run.exploration for run in once.runs[label]}) == 1
    assert all(run.exploration is not None for run in each.runs[label])
    assert all(run.exploration is None for run in each.runs["LinTS"])
    assert "of 4 runs, chosen once" in str(once)
    assert "chosen once" not in str(each)
    for folder, result in (("each", each), ("once", once)):
        loaded = load_records(tmp_path / folder)
        assert [run.exploration for run in loaded.runs[label]] == [run.exploration for run in result.runs[label]]
        assert str(result).split("of 4 runs")[1:] == str(loaded).split("of 4 runs")[1:]
    with pytest.raises(ValueError, match="auto_once"):
        dts_gym.compare(
            "DiffusionBandit-v0", agents, seeds=4, out=tmp_path / "each", resume=True, auto_once=True, **asked
        )


def test_a_run_of_many_instances_chooses_once_and_counts_no_time_for_it():
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=3, num_actions=4, dim=2, horizon=40)
    agents = make_agent("dTS", envs, seed=0, exploration="auto", **SHORT).spawn(3)
    dts_gym.run(envs, agents, 40, seed=0)
    assert len({json.dumps(agent.tuning.state()) for agent in agents}) == 1
    single = gym.make("DiffusionBandit-v0", num_actions=4, dim=2, horizon=40)
    agent = make_agent("dTS", single, seed=0, exploration="auto", **SHORT)
    seen = []
    agent._prepare = lambda x: seen.append(agent.tuning)
    dts_gym.run(single, agent, 40, seed=0)
    assert seen[0] is not None  # chosen before the first act


def test_a_comparison_shows_how_far_the_choosing_is_only_on_request(capsys, monkeypatch):
    monkeypatch.setattr("dts_gym.utils.progress._DELAY", 0.0)
    settings = {"num_actions": 4, "dim": 2}
    for shown in (False, True):
        asked = dts_gym.AgentSpec("LinTS", {"exploration": "auto", "tuning_rounds": 4000 + shown})
        dts_gym.compare("DiffusionBandit-v0", [asked], seeds=1, num_rounds=40, env_settings=settings, progress=shown)
        assert ("choosing the exploration" in capsys.readouterr().err) == shown
