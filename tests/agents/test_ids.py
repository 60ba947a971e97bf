"""The agents IDS and Greedy: the contract, what they pick, their files, their exploration."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.special import chdtrc

import dts_gym
from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior, random_mlp_prior
from dts_gym.agents import Agent, ChainAgent
from dts_gym.checks.agent_checks import check_agent
from dts_gym.posteriors.information import estimate, two_point

K, DIM = 9, 3
CONTEXT = np.array([0.8, -0.5, 0.6])
PRIORS = {
    "linear": (random_linear_prior(DIM, 2), {}),
    "perceptrons": (random_mlp_prior(DIM, 2), {}),
    "perceptrons, own levels": (random_mlp_prior(DIM, 2), {"branch": 2}),
    "perceptrons, between": (random_mlp_prior(DIM, 2), {"branch": 1}),
}


def taught(agent_id, name="linear", num_actions=K, **settings):
    prior, more = PRIORS[name]
    problem = BanditProblem(num_actions, DIM, prior, GaussianReward(0.7))
    agent = make_agent(agent_id, problem, seed=3, **more, **settings)
    rng = np.random.default_rng(1)
    for _ in range(12):  # of the actions 0 to 3; the others stay unplayed
        agent.update(rng.uniform(-1, 1, DIM), int(rng.integers(4)), float(rng.integers(2)))
    return agent


@pytest.mark.parametrize("agent_id", ["IDS", "Greedy"])
@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        ("DiffusionBandit-v0", {}),
        ("DiffusionBandit-v0", {"reward": "bernoulli"}),
        ("DiffusionBandit-v0", {"link": "mlp"}),
        pytest.param("DiffusionBandit-v0", {"link": "mlp", "branch": 1}, marks=pytest.mark.slow),
        pytest.param("DiffusionBandit-v0", {"link": "mlp", "branch": 2}, marks=pytest.mark.slow),
        ("SharedDiffusionBandit-v0", {}),
    ],
    ids=str,
)
def test_contract(agent_id, env_id, settings):
    # Among it: one by one and in batches the same distribution, masks, files that continue bit for bit.
    check_agent(agent_id, gym.make(env_id, num_actions=12, dim=3, **settings))


@pytest.mark.parametrize("exploration", [1.0, 0.4])
def test_the_probabilities_of_ids_are_its_mixtures_averaged_over_redraws(exploration):
    agent, n = taught("IDS", exploration=exploration), 4_000
    rng, shares = np.random.default_rng(0), np.zeros((n, K))
    for i in range(n):
        draws = agent._posterior.reward_draws(CONTEXT, rng, exploration, 64, agent.reward_model)
        mixture = two_point(*estimate(draws))
        for row, share in ((mixture.first, 1 - mixture.share), (mixture.second, mixture.share)):
            if row < len(draws.actions):
                shares[i, draws.actions[row]] += share
            else:
                shares[i, 4:] += share / (K - 4)
    expected = shares.mean(axis=0)
    played = np.bincount(agent.act(np.tile(CONTEXT, (n, 1))), minlength=K) / n
    asked = agent.action_probabilities(CONTEXT, n)
    error = np.sqrt(expected * (1 - expected) / n + shares.var(axis=0) / n) + 1e-9
    # 36 comparisons in all at 4.5 standard errors: a false alarm in 4000.
    assert (np.abs(played - expected) < 4.5 * error).all()
    assert (np.abs(asked - expected) < 4.5 * error).all()


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("agent_id", ["IDS", "Greedy"])
def test_a_saved_agent_continues_bit_for_bit(agent_id, name, tmp_path):
    settings = {"num_draws": 40, "exploration": "decay", "horizon": 50} if agent_id == "IDS" else {}
    agent = taught(agent_id, name, **settings)
    agent.act(CONTEXT)
    agent.save(tmp_path / "agent")
    loaded = Agent.load(tmp_path / "agent")
    rng = np.random.default_rng(5)
    for _ in range(8):
        context, reward = rng.uniform(-1, 1, DIM), float(rng.standard_normal())
        action = agent.act(context)
        assert loaded.act(context) == action
        for each in (agent, loaded):
            each.update(context, action, reward)
    if agent_id == "IDS":
        assert (loaded.num_draws, loaded.exploration) == (40, "decay")
        assert loaded.exploration_scale == agent.exploration_scale == pytest.approx(1 - 8 / 50, rel=0.04)  # in steps
    assert [one.act(CONTEXT) for one in loaded.spawn(2)] == [one.act(CONTEXT) for one in agent.spawn(2)]


@pytest.mark.parametrize("name", PRIORS)
def test_greedy_plays_the_largest_posterior_mean(name):
    agent = taught("Greedy", name)
    for context in np.random.default_rng(2).uniform(-1, 1, (20, DIM)):
        mean = agent.mean_reward(context)
        chosen = agent.act(context)
        assert mean[chosen] >= mean.max() - 1e-9
        lowest = agent.predict(context, deterministic=True)[0]
        assert lowest == (4 if chosen >= 4 else chosen)  # unplayed actions are tied


def test_greedy_has_no_exploration_and_without_data_plays_any_action():
    agent = taught("Greedy")
    assert agent.exploration_scale == 1.0
    assert "exploration" not in dts_gym.registry.agent_settings("Greedy")
    with pytest.raises(ValueError, match="settings of Greedy must be among"):
        taught("Greedy", exploration=0.5)
    agent.reset(0)
    assert set(agent.act(np.tile(CONTEXT, (300, 1))).tolist()) == set(range(K))  # all but once in 10^12


def test_less_exploration_is_nearer_to_the_mean():
    best = taught("Greedy").act(CONTEXT)
    shares = [
        taught("IDS", exploration=rule, horizon=100).action_probabilities(CONTEXT, 500)[best]
        for rule in (1.0, lambda t, n: 0.3 + 0 * t / n, 0.02)
    ]
    assert shares[0] < shares[1] < shares[2] + 1e-9
    assert shares[2] == 1.0


def test_without_data_all_actions_are_equally_likely():
    agent, n = taught("IDS"), 3_000
    agent.reset(0)
    counts = np.bincount(agent.act(np.tile(CONTEXT, (n, 1))), minlength=K)
    assert chdtrc(K - 1, ((counts - n / K) ** 2 / (n / K)).sum()) > 1e-6  # false alarms: one in a million


def test_a_million_actions_cost_no_more_than_the_played_ones():
    agent = taught("IDS", num_actions=1_000_000)
    shapes = []
    rng = agent._rngs["act"]

    class Watched:
        def __getattr__(self, name):
            def call(*arguments, **settings):
                out = getattr(rng, name)(*arguments, **settings)
                shapes.append(np.size(out))
                return out

            return call

    agent._choose(CONTEXT, Watched(), None)
    assert max(shapes) == 4 * 64  # what is drawn of four played actions
    mask = np.zeros(1_000_000, dtype=bool)
    mask[[2, 999_999]] = True
    assert set(agent.act(np.tile(CONTEXT, (50, 1)), mask)) <= {2, 999_999}


@pytest.mark.parametrize("num_draws", [1, 0, 2.5, None])
def test_the_number_of_draws_must_make_sense(num_draws):
    with pytest.raises(ValueError, match="num_draws must be"):
        taught("IDS", num_draws=num_draws)


def test_ids_explores_and_finds_the_best_action():
    # A check that it is good for something: less regret than Thompson sampling, on paired instances.
    env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3)
    comparison = dts_gym.compare(env.spec.id, ["dTS", "IDS"], seeds=6, num_rounds=400, env_settings={"num_actions": 20})
    gain = comparison.final_regret("dTS") - comparison.final_regret("IDS")
    assert gain.mean() > 0


def test_both_are_chain_agents_of_their_ids():
    for agent_id in ("IDS", "Greedy"):
        assert issubclass(dts_gym.registry.agent_class(agent_id), ChainAgent)
