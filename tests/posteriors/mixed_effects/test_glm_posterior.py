"""Mixed effects under rewards that are expanded: against the exact posterior, other engines, and sums over grids."""

from __future__ import annotations

import numpy as np
import pytest

from dts_gym import BernoulliReward, GaussianReward, MixedEffectPrior, PoissonReward
from dts_gym.posteriors.glm import retired_items
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.mixed_effects.glm_posterior import GLMMixedEffectPosterior
from dts_gym.posteriors.mixed_effects.posterior import MixedEffectPosterior
from dts_gym.priors.two_level import TwoLevelPrior

K, D, NOISE = 6, 2, 0.7
GRID = np.linspace(-12, 12, 1201)


def spd(rng: np.random.Generator, n: int, rank: int | None = None) -> np.ndarray:
    root = rng.normal(size=(n, rank or n))
    return root @ root.T / n


def prior_of(kind: str) -> MixedEffectPrior:
    rng = np.random.default_rng(1)
    means = rng.normal(size=(K, D))
    if kind == "none":
        return MixedEffectPrior(np.zeros((K, 0)), np.zeros((0, 0)), spd(rng, D), None, means)
    if kind == "weights":
        return MixedEffectPrior(rng.normal(size=(K, 2)), spd(rng, 4, 3), spd(rng, D, 1), rng.normal(size=4), means)
    own = np.array([spd(rng, D), spd(rng, D, 1), np.zeros((D, D)), spd(rng, D), spd(rng, D), 1e-6 * spd(rng, D)])
    return MixedEffectPrior(rng.normal(size=(K, D, 3)), spd(rng, 3), own, rng.normal(size=3), means)


@pytest.mark.parametrize("kind", ["none", "weights", "maps"])
def test_gaussian_rewards_are_exact(kind: str) -> None:
    """700 rewards, past two new sums; items retire and, with weights, change and join."""
    prior, rng = prior_of(kind), np.random.default_rng(2)
    exact, expanded = MixedEffectPosterior(prior, NOISE), GLMMixedEffectPosterior(prior, GaussianReward(NOISE))
    for step in range(700):
        x, a, y = rng.normal(size=D), int(rng.integers(prior.num_actions - 1)), float(rng.normal())
        new = None
        if kind == "weights" and step % 2:
            new = prior = prior.with_weights(a, rng.normal(size=2))
        if step == 300 and kind == "weights":
            prior = prior.grown(rng.normal(size=(2, 2)))
        for one in (exact, expanded):
            one.update(x, a, y)
            if step % 10 == 9 or new is not None:
                one.retire(a, new)
            if step == 300 and kind == "weights":
                one.grow(prior)
    for ours, theirs in zip(expanded.moments(), exact.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    contexts = rng.normal(size=(30, D))
    np.testing.assert_array_equal(expanded.greedy(contexts), exact.greedy(contexts))


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
def test_identity_maps_are_the_two_levels(model) -> None:
    rng = np.random.default_rng(3)
    m0, C, S = 0.3 * rng.normal(size=D), spd(rng, D), spd(rng, D)
    mixed = GLMMixedEffectPosterior(MixedEffectPrior(np.ones((K, 1)), C, S, effect_mean=m0), model)
    two = GLMPosterior(TwoLevelPrior(m0, C, S), K, model)
    for _ in range(400):
        x, a = rng.uniform(-1, 1, D), int(rng.integers(K - 1))
        y = float(model.sample(rng, np.asarray(0.5 * x[0])))
        mixed.update(x, a, y)
        two.update(x, a, y)
    for ours, theirs in zip(mixed.moments(), two.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    before = mixed.moments()
    x = np.array([0.5, -1.0])
    for one in (mixed, two):
        for action in (1, K - 1):
            one.expect(x, action)
    for ours, theirs in zip(mixed.moments(), two.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    assert np.trace(mixed.moments()[1]) < np.trace(before[1])


def grid_moments(prior: MixedEffectPrior, model, rounds) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations (K,) of parameters of dimension 1 that share one effect, by sums over grids of all."""
    effect, own = prior.effect_cov[0, 0], prior.action_cov[0, 0]
    log_effect = -((GRID - prior.effect_mean[0]) ** 2) / (2 * effect)
    kernels, likelihoods = [], []
    for a in range(prior.num_actions):
        center = prior.action_means[a, 0] + prior.mixing[a, 0] * GRID
        kernels.append(np.exp(-((GRID[:, None] - center) ** 2) / (2 * own)))  # theta by effect
        log = np.zeros(len(GRID))
        for x, b, y in rounds:
            if a == b:
                log += model.log_likelihood(np.array(y), x[0] * GRID)
        likelihoods.append(np.exp(log - log.max()))
    told = [np.log(like @ kernel) for like, kernel in zip(likelihoods, kernels, strict=True)]
    means, stds = [], []
    for a in range(prior.num_actions):
        others = log_effect + sum(told[b] for b in range(prior.num_actions) if b != a)
        density = likelihoods[a] * (kernels[a] @ np.exp(others - others.max()))
        density /= density.sum()
        means.append(density @ GRID)
        stds.append(np.sqrt(density @ (GRID - means[-1]) ** 2))
    return np.array(means), np.array(stds)


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
def test_the_posterior_is_near_that_of_sums_over_grids(model) -> None:
    """Offsets, weights and one effect; an unplayed action too. Within 0.15 deviations, and 12 % of each deviation."""
    rng = np.random.default_rng(4)
    offsets, weights = np.array([[1.0], [-1.5], [0.3], [0.8]]), np.array([[1.0], [0.5], [-1.0], [2.0]])
    prior = MixedEffectPrior(weights, [[1.0]], [[0.2]], [0.5], offsets)
    posterior, rounds = GLMMixedEffectPosterior(prior, model), []
    theta = prior.sample(rng, 4)
    for _ in range(60):
        x, a = rng.uniform(-1, 1, 1), int(rng.integers(3))
        y = float(model.sample(rng, np.asarray(x[0] * theta[a, 0])))
        rounds.append((x, a, y))
        posterior.update(x, a, y)
    mean, std = grid_moments(prior, model, rounds)
    ours, cov = posterior.moments()
    assert np.abs((ours[:, 0] - mean) / std).max() < 0.15
    assert np.abs(np.sqrt(np.diagonal(cov)) / std - 1).max() < 0.12


@pytest.mark.parametrize("kind", ["none", "weights", "maps"])
def test_a_restored_state_goes_on_bit_for_bit(kind: str) -> None:
    prior, rng = prior_of(kind), np.random.default_rng(5)
    first = GLMMixedEffectPosterior(prior, BernoulliReward())
    for _ in range(30):
        first.update(rng.normal(size=D), int(rng.integers(4)), float(rng.random() < 0.5))
    first.retire(2)
    other = GLMMixedEffectPosterior(prior, BernoulliReward())
    other.restore(first.state())
    x = np.array([[1.0, 2.0]] * 5)
    picks = [one.thompson(x, np.random.default_rng(8)) for one in (first, other)]
    np.testing.assert_array_equal(*picks)
    for one in (first, other):
        one.update(x[0], 5, 1.0)
    for ours, theirs in zip(other.moments(), first.moments(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def after_retiring(seed: int, items: int = 14, rewards: int = 4):
    """A posterior whose first action was one item after the other, and all items' prior and rounds; its last is new."""
    rng, model = np.random.default_rng(seed), BernoulliReward()
    weights = np.append(rng.normal(size=items - 1), 1.0)[:, None]
    every = MixedEffectPrior(weights, [[4.0]], [[0.25]])
    theta, rounds = every.sample(rng, items), []
    prior = MixedEffectPrior(weights[[0, -1]], [[4.0]], [[0.25]])
    posterior = GLMMixedEffectPosterior(prior, model)
    for item in range(items - 1):
        if item:
            prior = prior.with_weights(0, weights[item])
            posterior.retire(0, prior)
        for _ in range(rewards):
            x = rng.uniform(0.5, 3, 1)
            rounds.append((x, item, float(model.sample(rng, np.asarray(x[0] * theta[item, 0])))))
            posterior.update(x, 0, rounds[-1][2])
    return posterior, every, rounds


@pytest.mark.parametrize("seed", [3, 5])
def test_what_retired_items_tell_follows_later_rewards(seed: int) -> None:
    """With the expansions of the time, the new item's mean was .26 deviations off, its deviation up to 12 %."""
    posterior, every, rounds = after_retiring(seed)
    with np.errstate(divide="ignore"):  # the grid's ends
        mean, std = grid_moments(every, BernoulliReward(), rounds)
    ours, cov = posterior.moments()
    assert abs(ours[1, 0] - mean[-1]) < 0.13 * std[-1]
    assert abs(np.sqrt(cov[1, 1]) / std[-1] - 1) < 0.05


def test_sums_with_retired_items_are_kept_up_and_restored(monkeypatch) -> None:
    for most in (256, 5):  # with fewer, the first items' evidence stays as it was
        monkeypatch.setattr(retired_items, "_MOST", most)
        posterior, every, rounds = after_retiring(0)
        other = GLMMixedEffectPosterior(posterior.prior, BernoulliReward())
        other.restore(posterior.state())
        for one in (posterior, other):
            one.update(np.ones(1), 1, 1.0)
        for ours, theirs in zip(other.state().values(), posterior.state().values(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        before = posterior.moments()
        other._sum()
        other._solve()
        for ours, theirs in zip(other.moments(), before, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-10)
        mean = grid_moments(every, BernoulliReward(), [*rounds, (np.ones(1), len(every.mixing) - 1, 1.0)])[0]
        assert abs(before[0][1, 0] - mean[-1]) < 0.1


def test_rewards_that_overflow_change_nothing() -> None:
    posterior = GLMMixedEffectPosterior(prior_of("weights"), BernoulliReward())
    before = posterior.moments()
    with pytest.raises(ValueError, match="context must give"):
        posterior.update(np.array([1e9, 0.0]), 0, 1.0)
    for ours, theirs in zip(posterior.moments(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
