"""Rewards that come late, in batches or from another policy's log."""

from collections import deque

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import BanditProblem, BernoulliReward, GaussianReward, LinearDiffusionPrior, make_agent, random_mlp_prior
from dts_gym.posteriors.joint_posterior import JointPosterior

LINEAR = LinearDiffusionPrior([np.array([[1.0, 0.5], [0.0, 1.0]])] * 2, [np.eye(2), 0.5 * np.eye(2), np.eye(2)])
MLP = random_mlp_prior(2, 2, activation="tanh", hidden=6)
K, ROUNDS = 5, 30
SETTINGS = {
    "dTS": ("dTS", LINEAR, GaussianReward(0.7), {}),
    "LinUCB": ("LinUCB", LINEAR, GaussianReward(0.7), {}),
    "MixTS": ("MixTS", MLP, GaussianReward(0.7), {"num_components": 2}),
    "dTS Bernoulli": ("dTS", LINEAR, BernoulliReward(), {}),
    "dTS particles": ("dTS", MLP, GaussianReward(0.7), {"num_particles": 4}),
    "dTS own levels": ("dTS", MLP, BernoulliReward(), {"num_particles": 4, "branch": 2}),
    "EpsilonGreedy": ("EpsilonGreedy", LINEAR, GaussianReward(0.7), {}),
}


def made(name, seed=0):
    agent_id, prior, reward, settings = SETTINGS[name]
    return make_agent(agent_id, BanditProblem(K, 2, prior, reward), seed=seed, **settings)


def log():
    """Rounds of a policy that plays at random."""
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (ROUNDS, 2)), rng.integers(K, size=ROUNDS), rng.integers(2, size=ROUNDS).astype(float)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("delay", [1, 7, ROUNDS])
def test_late_rewards_teach_what_prompt_ones_teach(name, delay):
    late, prompt, pending = made(name), made(name, seed=1), deque()
    for x, a, y in zip(*log(), strict=True):
        late.act(x)  # whatever it does while it waits
        pending.append((x, a, y))
        if len(pending) > delay:
            late.update(*pending.popleft())
        prompt.update(x, a, y)
    late.update(*(np.array(part) for part in zip(*pending, strict=True)))  # the rest at once
    assert late.num_updates == prompt.num_updates == ROUNDS
    asked = log()[0][:5]
    np.testing.assert_allclose(late.marginals(asked), prompt.marginals(asked), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["dTS", "LinUCB", "MixTS", "EpsilonGreedy"])
def test_with_gaussian_rewards_the_order_does_not_matter(name):
    one, other = made(name), made(name)
    contexts, actions, rewards = log()
    order = np.random.default_rng(1).permutation(ROUNDS)
    one.update(contexts, actions, rewards)
    other.update(contexts[order], actions[order], rewards[order])
    np.testing.assert_allclose(one.marginals(contexts), other.marginals(contexts), rtol=1e-8, atol=1e-10)


def test_a_log_is_a_warm_start():
    # The posterior given the log is the dense one, and the warm agent loses less from then on.
    contexts, actions, rewards = log()
    agent, truth = made("dTS"), JointPosterior(LINEAR, K, 0.7)
    agent.update(contexts, actions, rewards)
    for x, a, y in zip(contexts, actions.tolist(), rewards, strict=True):
        truth.update(x, a, y)
    for ours, theirs in zip(agent.moments(), truth.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)

    regrets = []
    for seed in range(6):
        env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3, instance_seed=seed)
        warm, cold = (make_agent("dTS", env, seed=0) for _ in range(2))
        x, _ = env.reset(seed=seed)
        for action in np.random.default_rng(seed).integers(20, size=300).tolist():
            following, reward, *_ = env.step(action)
            warm.update(x, action, reward)
            x = following
        for agent in (warm, cold):
            x, _ = env.reset(seed=100 + seed)
            for _ in range(100):
                action = agent.act(x)
                following, reward, _, _, info = env.step(action)
                agent.update(x, action, reward)
                x = following
            regrets.append(info["cumulative_regret"])
    warm_regrets, cold_regrets = np.array(regrets).reshape(6, 2).T
    assert (warm_regrets < cold_regrets).all()


@pytest.mark.parametrize("branch", [0, 2])
@pytest.mark.parametrize("prior", [LINEAR, MLP])
def test_a_pending_play_counts_as_the_pick_of_a_batch_does(prior, branch):
    """A batch picked in order, and its picks one by one, each with those before it pending: the same actions."""
    one, other = (
        make_agent("dUCB", BanditProblem(K, 2, prior.with_branch(branch), GaussianReward(0.7)), seed=4) for _ in "ab"
    )
    for agent in (one, other):
        agent.update(*(part[:8] for part in log()))
    contexts = np.tile([[0.5, 1.0], [0.4, 1.0]], (5, 1))
    chosen = [other.act(contexts[0])]  # a first choice may note how well particles serve
    before = {name: array.copy() for name, array in other._state().items()}
    for i, x in enumerate(contexts[1:], start=1):
        chosen.append(other.act(x, pending=(contexts[:i], chosen)))
    assert len(set(chosen)) > 1
    assert one.act(contexts).tolist() == chosen
    for name, array in other._state().items():
        np.testing.assert_array_equal(array, before[name])


def test_draws_need_no_word_of_pending_plays():
    one, other = made("dTS"), made("dTS")
    x = np.array([0.5, 1.0])
    picks = [one.act(x) for _ in range(20)]
    assert picks == [other.act(x, pending=(np.tile(x, (5, 1)), [1] * 5)) for _ in range(20)]


@pytest.mark.parametrize(
    ("pending", "words"),
    [
        ([1, 2, 3], "pending must be a tuple of contexts and actions"),
        (([[1.0]], [0]), "pending must begin with contexts of plays: context must have shape"),
        (([1.0, 2.0], [0]), "pending must begin with contexts in rows"),
        (([[1.0, 2.0]], [K]), f"pending must be in 0..{K - 1}, got {K}"),
        (([[1.0, np.nan]], [0]), "pending must begin with contexts of plays: context must be finite"),
    ],
)
def test_what_is_no_pending_play_is_refused(pending, words):
    agent = made("LinUCB")
    with pytest.raises(ValueError, match=words):
        agent.act([0.5, 1.0], pending=pending)
