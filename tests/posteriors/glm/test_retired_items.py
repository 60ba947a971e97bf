"""Retired actions under expanded rewards: against dense posteriors over all items that ever were, and against grids."""

import numpy as np
import pytest

from dts_gym import BernoulliReward, GaussianReward, PoissonReward
from dts_gym.posteriors.glm import retired_items
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.lockstep.glm_runs import fit_together
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from truth import random_cov

K, D = 5, 2
KINDS = ["full", "narrow", "alone"]
GRID = np.linspace(-12, 12, 1201)


def prior_of(kind):
    """Full covariances, of rank one each, or nothing shared."""
    rng = np.random.default_rng(1)
    mean, least, width = rng.standard_normal(D), 0.0 if kind == "narrow" else 0.1, 1 if kind == "narrow" else None
    shared, own = random_cov(rng, D, least, width), random_cov(rng, D, least, width)
    return TwoLevelPrior(mean, np.zeros((D, D)) if kind == "alone" else shared, own)


def assert_same(one, other, atol):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_gaussian_rewards_are_exact(kind):
    """700 rewards, past two new sums of the messages, with 70 items that retire."""
    prior, rng = prior_of(kind), np.random.default_rng(2)
    exact, expanded = TwoLevelPosterior(prior, K, 0.7), GLMPosterior(prior, K, GaussianReward(0.7))
    for step in range(700):
        x, action, y = rng.standard_normal(D), int(rng.integers(K - 1)), float(rng.standard_normal())
        for one in (exact, expanded):
            one.update(x, action, y)
            if step % 10 == 9:
                one.retire(action)
    assert_same(expanded.moments(), exact.moments(), 1e-8)
    assert len(expanded.retired) == 0


def dense_moments(prior, evidence, num_actions):
    """Means and covariance of the first actions' parameters, given a quadratic on each of n items: one solve of all."""
    n = max(num_actions, max(evidence, default=0) + 1)
    cov = np.kron(np.ones((n, n)), prior.shared_cov) + np.kron(np.eye(n), prior.action_cov)
    mean, G, h = np.tile(prior.mean, n), np.zeros((n * D, n * D)), np.zeros(n * D)
    for item, told in evidence.items():
        at = slice(item * D, (item + 1) * D)
        G[at, at], h[at] = told
    held = np.linalg.solve(np.eye(n * D) + cov @ G, np.column_stack([cov, mean + cov @ h]))
    size = num_actions * D
    return held[:size, -1].reshape(num_actions, D), held[:size, :size]


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
@pytest.mark.parametrize("kind", KINDS)
def test_old_items_are_integrated_out_of_the_dense_expansion(kind, model):
    """Of 500 rewards; the truth has the evidence of every item that ever was, as it was last expanded."""
    prior, rng = prior_of(kind), np.random.default_rng(3)
    posterior = GLMPosterior(prior, K, model)
    for step in range(500):
        x, action = rng.uniform(-1, 1, D), int(rng.integers(K - 1))
        posterior.update(x, action, float(model.sample(rng, np.asarray(x[0]))))
        if step % 10 == 9:
            before = posterior.moments()
            posterior.retire(action)
            kept = np.arange(K) != action
            np.testing.assert_allclose(posterior.moments()[0][kept], before[0][kept], atol=1e-9)
    kept = posterior.retired._glm
    assert len(kept) == (0 if kind == "alone" else 50)
    evidence = {
        int(a): (posterior.glm.evidence().G[i], posterior.glm.evidence().h[i]) for a, i in posterior.glm.slots.items()
    }
    evidence |= {K + a: (kept.evidence().G[i], kept.evidence().h[i]) for a, i in kept.slots.items()}
    assert_same(posterior.moments(), dense_moments(prior, evidence, K), 1e-8)


def after_retiring(seed, items=14, rewards=4, shared=4.0, own=0.25):
    """A posterior whose first action was one item after the other; its last is new. Also the rounds of each item."""
    rng, model = np.random.default_rng(seed), BernoulliReward()
    theta = np.sqrt(shared) * rng.standard_normal() + np.sqrt(own) * rng.standard_normal(items)
    posterior = GLMPosterior(TwoLevelPrior(np.zeros(1), np.array([[shared]]), np.array([[own]])), 2, model)
    rounds = []
    for item in range(items):
        if item:
            posterior.retire(0)
        x = rng.uniform(0.5, 3, rewards)
        rounds.append((x, model.sample(rng, x * theta[item])))
        for context, reward in zip(*rounds[-1], strict=True):
            posterior.update(np.array([context]), 0, float(reward))
    return posterior, rounds


def new_items_moments(rounds, shared=4.0, own=0.25):
    """Mean and deviation of a new item's parameter, by sums over grids of the shared part and of each item's own."""
    kernel, model = np.exp(-((GRID[:, None] - GRID) ** 2) / (2 * own)), BernoulliReward()
    log = -(GRID**2) / (2 * shared)
    for x, y in rounds:
        likelihood = model.log_likelihood(y[:, None], x[:, None] * GRID).sum(axis=0)
        log = log + np.log(kernel @ np.exp(likelihood))
    density = np.exp(log - log.max())
    density /= density.sum()
    mean = density @ GRID
    return mean, np.sqrt(density @ (GRID - mean) ** 2 + own)


@pytest.mark.parametrize("seed", range(6))
def test_what_retired_items_tell_follows_later_rewards(seed):
    posterior, rounds = after_retiring(seed)
    mean, std = new_items_moments(rounds)
    ours, cov = posterior.moments()
    assert abs(ours[1, 0] - mean) < 0.13 * std
    assert abs(np.sqrt(cov[1, 1]) / std - 1) < 0.05


@pytest.mark.parametrize("most", [256, 5])
def test_a_restored_state_goes_on_bit_for_bit(most, monkeypatch):
    """With fewer kept, the first items' evidence stays as it was."""
    monkeypatch.setattr(retired_items, "_MOST", most)
    posterior, _ = after_retiring(0)
    assert len(posterior.retired) == min(most, 13)
    other, _ = after_retiring(1)
    other.restore(posterior.state())
    for one in (posterior, other):
        for _ in range(300):  # past a new sum of the messages
            one.update(np.ones(1), 1, 1.0)
    assert_same(other.state().values(), posterior.state().values(), 0.0)


def test_a_state_from_before_any_item_retired_has_none():
    fresh, _ = after_retiring(0, items=1)
    assert not [name for name in fresh.state() if name.startswith("retired")]
    other, _ = after_retiring(1)
    other.restore(fresh.state())
    assert other.retired.is_empty
    assert_same(other.moments(), fresh.moments(), 0.0)


def test_runs_with_retired_items_do_not_go_in_lockstep():
    ones = [after_retiring(seed, items)[0] for seed, items in ((0, 1), (1, 1), (2, 2))]
    assert fit_together(ones[:2])
    assert not fit_together(ones[1:])
