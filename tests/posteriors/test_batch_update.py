"""n rewards in one pass: against the loop and the dense posterior (extended precision: test_drift.py)."""

import numpy as np
import pytest

import dts_gym
from dts_gym.posteriors.interface import BatchPosterior
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.two_level import TwoLevelPrior
from truth import cov_along, random_axes, random_cov


def histories(rng, K, d, sizes, norm=1.0):
    """Batches of contexts and actions; some actions come often in a batch, some for the first time late."""
    for size in sizes:
        frequent = rng.integers(0, 3, size)
        actions = np.where(rng.random(size) < 0.5, frequent, rng.integers(0, K, size))
        yield norm * rng.standard_normal((size, d)), actions


@pytest.mark.parametrize(("own_rank", "shared_rank"), [(4, 4), (2, 4), (4, 0), (0, 4), (1, 1), (0, 0)])
@pytest.mark.parametrize(("noise_std", "norm"), [(0.7, 1.0), (1e-6, 1.0), (1e-3, 1e3), (1e6, 1e3)])
@pytest.mark.filterwarnings("error")
def test_a_batch_equals_the_loop_and_the_dense_posterior(own_rank, shared_rank, noise_std, norm):
    rng = np.random.default_rng([own_rank, shared_rank, int(norm)])
    K, d = 8, 4
    covs = [cov_along(random_axes(rng, d), np.arange(d) < rank) for rank in (own_rank, shared_rank)]
    prior = LinearDiffusionPrior([np.eye(d)], covs, [rng.standard_normal(d)])
    batched, looped = (TwoLevelPosterior(prior.two_level(), K, noise_std) for _ in range(2))
    dense = JointPosterior(prior, K, noise_std)
    theta = prior.sample(rng, K)
    for contexts, actions in histories(rng, K, d, [1, 2, 0, 40, 3, 200, 7], norm):
        rewards = (contexts * theta[actions]).sum(axis=1) + noise_std * rng.standard_normal(len(actions))
        batched.update_all(contexts, actions, rewards)
        for x, action, reward in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
            looped.update(x, action, reward)
            dense.update(x, action, reward)
        for got, truth in zip(batched.moments(), dense.moments(), strict=True):
            np.testing.assert_allclose(got, truth, atol=1e-7, rtol=0)
    if noise_std == 0.7:  # the order of rows too, so that both go on alike
        for name, array in looped.state().items():
            scale = np.abs(array).max(initial=1.0)
            if name == "root":
                got = batched.state()["root"]
                np.testing.assert_allclose(got @ got.T, array @ array.T, atol=1e-12, rtol=0)
            elif "carry" not in name:
                np.testing.assert_allclose(batched.state()[name], array, atol=1e-12 * scale, rtol=0)
    draws = [
        [posterior.unplayed.draw(np.random.default_rng(1), 9)]
        for posterior in (batched, looped)
        if len(posterior.unplayed)
    ]
    np.testing.assert_array_equal(*(draws or [0, 0]))


def test_the_order_of_a_batch_and_its_parting_do_not_matter():
    rng = np.random.default_rng(3)
    K, d = 50, 3
    mean = rng.standard_normal(d)
    shared_cov = random_cov(rng, d, 0.0, 2 * d)
    prior = TwoLevelPrior(mean, shared_cov, cov_along(random_axes(rng, d), np.arange(d) < 2))
    contexts, actions, rewards = rng.standard_normal((300, d)), rng.integers(K, size=300), rng.standard_normal(300)
    order = rng.permutation(300)
    whole, permuted, parts = (TwoLevelPosterior(prior, K, 0.3) for _ in range(3))
    whole.update_all(contexts, actions, rewards)
    permuted.update_all(contexts[order], actions[order], rewards[order])
    for rows in np.array_split(np.arange(300), 17):
        parts.update_all(contexts[rows], actions[rows], rewards[rows])
    for other in (permuted, parts):
        for got, truth in zip(other.moments(), whole.moments(), strict=True):
            np.testing.assert_allclose(got, truth, atol=1e-12, rtol=0)


def test_a_batch_larger_than_a_part_of_a_layer():
    """At d = 20 a layer of 1000 actions is worked off in parts; new rows are made at once."""
    rng = np.random.default_rng(4)
    K, d = 1200, 20
    prior = TwoLevelPrior(np.zeros(d), random_cov(rng, d, 0.0, 2 * d), random_cov(rng, d, 0.0, 2 * d))
    actions = np.concatenate([rng.permutation(K)[:1000], rng.integers(K, size=200)])
    contexts, rewards = rng.standard_normal((1200, d)), rng.standard_normal(1200)
    batched, looped = TwoLevelPosterior(prior, K, 1.0), TwoLevelPosterior(prior, K, 1.0)
    batched.update_all(contexts, actions, rewards)
    for x, action, reward in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
        looped.update(x, action, reward)
    assert batched.table.actions.tolist() == looped.table.actions.tolist()
    np.testing.assert_allclose(batched.table.cov, looped.table.cov, atol=1e-13, rtol=0)
    np.testing.assert_allclose(batched.table.beta, looped.table.beta, atol=1e-13, rtol=0)
    (mean, root), (mean_loop, root_loop) = batched._shared_moments(1.0), looped._shared_moments(1.0)
    np.testing.assert_allclose(mean, mean_loop, atol=1e-12, rtol=0)
    np.testing.assert_allclose(root @ root.T, root_loop @ root_loop.T, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "agent_id", ["dTS", "dUCB", "HierTS", "MarginalLinTS", "LinTS", "LinUCB", "TunedTS", "EpsilonGreedy"]
)
def test_agents_take_batches_in_one_pass(agent_id, tmp_path):
    rng = np.random.default_rng(8)
    problem = dts_gym.BanditProblem(40, 3, dts_gym.random_linear_prior(3, 2, seed=1), dts_gym.GaussianReward(0.5))
    batched, looped = (dts_gym.make_agent(agent_id, problem, seed=0) for _ in range(2))
    assert isinstance(batched._posterior, BatchPosterior)
    contexts, actions, rewards = rng.uniform(-1, 1, (90, 3)), rng.integers(30, size=90), rng.standard_normal(90)
    batched.update(contexts, actions, rewards)
    for x, action, reward in zip(contexts, actions, rewards, strict=True):
        looped.update(x, int(action), float(reward))
    assert batched.num_updates == looped.num_updates == 90
    state, truth = batched._state(), looped._state()
    for name in ("actions", "cov", "beta", "G", "h", "mean"):
        np.testing.assert_allclose(state[name], truth[name], atol=1e-11, rtol=0)

    # A batch with one wrong entry changes nothing.
    kept = {name: array.copy() for name, array in state.items()}
    for bad in (
        (contexts, np.where(np.arange(90) == 89, 40, actions), rewards),
        (contexts, actions, np.r_[rewards[1:], np.nan]),
    ):
        with pytest.raises(ValueError, match=r"action|reward"):
            batched.update(*bad)
    for name, array in batched._state().items():
        np.testing.assert_array_equal(array, kept[name])

    batched.save(tmp_path / "agent.npz")
    loaded = type(batched).load(tmp_path / "agent.npz")
    for agent in (batched, loaded):
        agent.update(contexts[:50], (actions[:50] + 7) % 40, rewards[:50])
    for name, array in batched._state().items():
        np.testing.assert_array_equal(array, loaded._state()[name])
    assert batched.act(contexts).tolist() == loaded.act(contexts).tolist()


def test_engines_without_a_batched_form_keep_the_loop():
    rng = np.random.default_rng(9)
    problem = dts_gym.BanditProblem(6, 2, dts_gym.random_linear_prior(2, 2, seed=1), dts_gym.GaussianReward(0.5))
    contexts, actions, rewards = rng.uniform(-1, 1, (20, 2)), rng.integers(6, size=20), rng.standard_normal(20)
    for agent_id in ("JointTS", "MixTS"):
        batched, looped = (dts_gym.make_agent(agent_id, problem, seed=0) for _ in range(2))
        assert not isinstance(batched._posterior, BatchPosterior)
        batched.update(contexts, actions, rewards)
        for x, action, reward in zip(contexts, actions, rewards, strict=True):
            looped.update(x, int(action), float(reward))
        for got, truth in zip(batched.moments(), looped.moments(), strict=True):
            np.testing.assert_array_equal(got, truth)
