"""The posterior of mixed effects equals the dense one over effects and parameters, and picks as its draws say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from dts_gym import GaussianReward, MixedEffectPrior
from dts_gym.posteriors.mixed_effects.posterior import MixedEffectPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior

K, D, NOISE = 6, 3, 0.7


def spd(rng: np.random.Generator, n: int, rank: int | None = None) -> np.ndarray:
    root = rng.normal(size=(n, rank or n))
    return root @ root.T / n


def prior_of(kind: str) -> MixedEffectPrior:
    """Priors with unequal offsets; ranks of the covariances below full, and one action without a part of its own."""
    rng = np.random.default_rng(11)
    means = rng.normal(size=(K, D))
    if kind == "weights":
        return MixedEffectPrior(rng.normal(size=(K, 2)), spd(rng, 6, 4), spd(rng, D, 2), rng.normal(size=6), means)
    own = np.array([spd(rng, D), spd(rng, D, 1), np.zeros((D, D)), spd(rng, D, 2), spd(rng, D), 1e-6 * spd(rng, D)])
    if kind == "maps":
        return MixedEffectPrior(rng.normal(size=(K, D, 5)), spd(rng, 5, 3), own, rng.normal(size=5), means)
    # Groups: actions 0, 2 and 5 are alike, 3 and 4 are.
    same = np.array([0, 1, 0, 3, 3, 0])
    return MixedEffectPrior(rng.normal(size=(K, 2))[same], spd(rng, 6), own[same], rng.normal(size=6), means[same])


KINDS = ["weights", "maps", "groups"]


def data(num_rounds: int, played: int) -> list[tuple[np.ndarray, int, float]]:
    rng = np.random.default_rng(5)
    return [(rng.normal(size=D), int(rng.integers(played)), float(rng.normal())) for _ in range(num_rounds)]


def dense(prior: MixedEffectPrior, rounds: list[tuple[np.ndarray, int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Moments of (psi, theta) by conditioning the joint normal distribution on all rewards at once."""
    q = prior.effect_dim
    maps = prior.mixing if prior.mixing.ndim == 3 else np.stack([np.kron(b, np.eye(D)) for b in prior.mixing])
    stacked = np.vstack([np.eye(q), *maps])
    mean = stacked @ prior.effect_mean + np.concatenate([np.zeros(q), prior.action_means.ravel()])
    cov = stacked @ prior.effect_cov @ stacked.T
    for a, own in enumerate(np.broadcast_to(prior.action_cov, (K, D, D))):
        block = slice(q + a * D, q + (a + 1) * D)
        cov[block, block] += own
    X = np.zeros((len(rounds), len(mean)))
    for row, (x, a, _) in zip(X, rounds, strict=True):
        row[q + a * D : q + (a + 1) * D] = x
    y = np.array([reward for *_, reward in rounds])
    gain = np.linalg.solve(X @ cov @ X.T + NOISE**2 * np.eye(len(y)), X @ cov).T
    return mean + gain @ (y - X @ mean), cov - gain @ X @ cov


def learned(prior: MixedEffectPrior, rounds: list[tuple[np.ndarray, int, float]]) -> MixedEffectPosterior:
    posterior = MixedEffectPosterior(prior, NOISE)
    for x, a, y in rounds:
        posterior.update(x, a, y)
    return posterior


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_rounds", [0, 1, 40])
def test_equals_the_dense_posterior(kind: str, num_rounds: int) -> None:
    """A third of the actions is unplayed."""
    prior, rounds = prior_of(kind), data(num_rounds, 4)
    posterior, q = learned(prior, rounds), prior.effect_dim
    mean, cov = dense(prior, rounds)
    effects, root = posterior.effects
    np.testing.assert_allclose(effects, mean[:q], atol=1e-10)
    np.testing.assert_allclose(root @ root.T, cov[:q, :q], atol=1e-10)
    own_mean, own_cov = posterior.moments()
    np.testing.assert_allclose(own_mean.ravel(), mean[q:], atol=1e-10)
    np.testing.assert_allclose(own_cov, cov[q:, q:], atol=1e-10)
    x = np.random.default_rng(1).normal(size=(2, D))
    scores = np.kron(np.eye(K), x[1])
    laws = posterior.laws(x, 0.5)
    np.testing.assert_allclose(laws.of_all(lambda of: of.mean())[1], scores @ mean[q:], atol=1e-10)
    spread = np.diagonal(scores @ cov[q:, q:] @ scores.T)
    np.testing.assert_allclose(laws.of_all(lambda of: of.variance())[1], 0.25 * spread, atol=1e-10)


def best_shares(mean: np.ndarray, cov: np.ndarray, x: np.ndarray, mask: np.ndarray | None, size: int) -> np.ndarray:
    """How often each action is the best allowed one, among draws of the dense posterior."""
    scores = np.kron(np.eye(K), x)
    values, vectors = np.linalg.eigh(scores @ cov @ scores.T)
    noise = np.random.default_rng(9).standard_normal((size, K))
    drawn = scores @ mean + noise @ (vectors * np.sqrt(values.clip(0.0))).T
    if mask is not None:
        drawn[:, ~mask] = -np.inf
    return np.bincount(drawn.argmax(axis=1), minlength=K) / size


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    """Deviation of a chi-square statistic from its mean, in standard deviations; cells of fewer than 5 are pooled."""
    expected = shares * counts.sum()
    kept = expected >= 5
    counts = np.append(counts[kept], counts[~kept].sum())
    expected = np.append(expected[kept], max(expected[~kept].sum(), 1.0))
    freedom = max(len(counts) - 1, 1)
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rule", ["thompson", "reward_draws"])
def test_draws_pick_as_the_dense_posterior(kind: str, masked: bool, rule: str) -> None:
    """4000 picks by chi-square, 4.5 deviations of it: some 1 false alarm in 1000 runs a case; the seed is fixed."""
    prior, rounds = prior_of(kind), data(12, 4)
    posterior, q = learned(prior, rounds), prior.effect_dim
    mask = np.array([True, False, True, True, True, False]) if masked else None
    mean, cov = dense(prior, rounds)
    x, rng = np.array([0.8, -0.3, 0.5]), np.random.default_rng(2)
    if rule == "thompson":
        chosen = posterior.thompson(np.tile(x, (4000, 1)), rng, 1.0, mask)
    else:
        draws = posterior.reward_draws(x, rng, 1.0, 4000, GaussianReward(NOISE), mask)
        chosen = draws.actions[draws.winners]
    shares = best_shares(mean[q:], cov[q:, q:], x, mask, 400_000)
    assert chi_square(np.bincount(chosen, minlength=K), shares) < 4.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_bounds_and_means_pick_the_largest(kind: str, scale: float) -> None:
    prior, rounds = prior_of(kind), data(12, 4)
    posterior, q = learned(prior, rounds), prior.effect_dim
    mean, cov = dense(prior, rounds)
    rng, mask = np.random.default_rng(3), np.array([True, False, True, True, True, False])
    for x in rng.normal(size=(40, D)):
        scores = np.kron(np.eye(K), x)
        means, deviations = scores @ mean[q:], np.sqrt(np.diagonal(scores @ cov[q:, q:] @ scores.T).clip(0.0))
        for allowed in (np.ones(K, bool), mask):
            picked = int(posterior.upper_confidence(x, rng, scale, allowed))
            bounds = np.where(allowed, means + scale * deviations, -np.inf)
            assert allowed[picked]
            assert bounds[picked] >= bounds.max() - 1e-9
            best = int(posterior.greedy(x, allowed))
            assert means[best] >= np.where(allowed, means, -np.inf).max() - 1e-9
            assert best == int(np.flatnonzero(np.where(allowed, means, -np.inf) >= means[best] - 1e-9)[0])


def test_a_bound_of_many_played_actions_is_the_largest() -> None:
    """More actions than are computed at once, with correlated effects, so that most are left out."""
    rng = np.random.default_rng(4)
    prior = MixedEffectPrior(rng.normal(size=(400, 4)), spd(rng, 4 * D), 0.3 * np.eye(D))
    posterior = MixedEffectPosterior(prior, NOISE)
    for a in range(380):
        posterior.update(rng.normal(size=D), a, float(rng.normal()))
    for x in rng.normal(size=(20, D)):
        laws = posterior.laws(x[None])
        bounds = laws.of_all(lambda of: of.mean() + 1.5 * np.sqrt(of.variance()))[0]
        assert int(posterior.upper_confidence(x, rng, 1.5)) == int(bounds.argmax())


def test_identity_maps_are_the_two_levels() -> None:
    rng = np.random.default_rng(6)
    m0, C, S = rng.normal(size=D), spd(rng, D), spd(rng, D)
    mixed = MixedEffectPosterior(MixedEffectPrior(np.ones((K, 1)), C, S, effect_mean=m0), NOISE)
    two = TwoLevelPosterior(TwoLevelPrior(m0, C, S), K, NOISE)
    for x, a, y in data(60, 4):
        mixed.update(x, a, y)
        two.update(x, a, y)
    for ours, theirs in zip(mixed.moments(), two.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)
    for x in rng.normal(size=(20, D)):
        assert int(mixed.greedy(x)) == int(two.greedy(x))
        masks = np.array([True] * 4 + [False] * 2)  # unplayed actions are tied, and the tie is broken at random
        assert int(mixed.upper_confidence(x, rng, 1.0, masks)) == int(two.upper_confidence(x, rng, 1.0, masks))


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_state_goes_on_bit_for_bit(kind: str) -> None:
    prior = prior_of(kind)
    first = learned(prior, data(20, 4))
    state = first.state()
    for other in (MixedEffectPosterior(prior, NOISE), learned(prior, data(50, 6))):
        other.restore(state)
        x = np.array([[1.0, 2.0, -1.0]] * 5)
        picks = [one.thompson(x, np.random.default_rng(8)) for one in (first, other)]
        np.testing.assert_array_equal(*picks)
        other.update(x[0], 5, 1.0)
        again = learned(prior, data(20, 4))
        again.update(x[0], 5, 1.0)
        for ours, theirs in zip(other.moments(), again.moments(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_an_expected_reward_moves_no_mean() -> None:
    posterior = learned(prior_of("maps"), data(20, 4))
    mean, cov = posterior.moments()
    for action in (1, 5):
        posterior.expect(np.array([1.0, -0.5, 2.0]), action)
    after, narrower = posterior.moments()
    np.testing.assert_allclose(after, mean, atol=1e-10)
    assert np.trace(narrower) < np.trace(cov) - 1e-3


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 1e3])
def test_precise_rewards_keep_their_deviations(noise: float) -> None:
    """One action and effects known exactly: its deviation along a context has a closed form, whatever the noise."""
    posterior = MixedEffectPosterior(MixedEffectPrior([[1.0]], [[0.0]], [[1.0]]), noise)
    for _ in range(1000):
        posterior.update(np.array([1.0]), 0, 2.0)
    law = posterior.laws(np.array([[1.0]])).own
    np.testing.assert_allclose(law.variance()[0, 0], 1 / (1 + 1000 / noise**2), rtol=1e-9)


@pytest.mark.slow
def test_a_million_updates_do_not_drift() -> None:
    """Against the dense natural form, where a million rewards are 24 (context, action) pairs with counts and sums."""
    prior, rng = prior_of("weights"), np.random.default_rng(7)
    posterior, q = MixedEffectPosterior(prior, NOISE), prior.effect_dim
    contexts = rng.normal(size=(6, D))
    pairs = [(x, a) for x in contexts for a in range(4)]
    counts, sums = np.zeros(len(pairs)), np.zeros(len(pairs))
    index, noise = rng.integers(len(pairs), size=1_000_000), rng.normal(size=1_000_000)
    for i, value in zip(index.tolist(), noise.tolist(), strict=True):
        posterior.update(*pairs[i], value)
        counts[i] += 1
        sums[i] += value
    # A mean of n rewards is a reward with noise divided by sqrt(n): contexts and means are multiplied by that root.
    weights = np.sqrt(counts)
    means = sums / counts
    grouped = [(x * w, a, 0.0) for (x, a), w in zip(pairs, weights, strict=True)]
    zero_mean, cov = dense(prior, grouped)
    at_means, _ = dense(prior, [(x, a, m * w) for (x, a, _), m, w in zip(grouped, means, weights, strict=True)])
    own_mean, own_cov = posterior.moments()
    assert np.abs(zero_mean - at_means).max() > 0
    np.testing.assert_allclose(own_mean.ravel(), at_means[q:], atol=1e-8)
    np.testing.assert_allclose(own_cov, cov[q:, q:], atol=1e-8)


def test_precise_rewards_are_right_or_a_warning_says_that_they_are_not() -> None:
    """One effect of variance 1 and two items of one number each: rational numbers are the truth."""
    prior = MixedEffectPrior(np.ones((2, 1)), np.eye(1), np.eye(1))
    posterior = MixedEffectPosterior(prior, 1.0)
    scale = 2.0**31  # 2e9
    for action, reward in ((0, 3.0), (1, -1.0), (0, 2.0)):
        posterior.update(np.array([scale]), action, reward)
    # The precision of (effect, own parts), of observations (1, 1, 0), (1, 0, 1) and (1, 1, 0) times scale, is
    # [[a, b, c], [b, e, 0], [c, 0, f]].
    c = Fraction(scale) ** 2
    a, b, e, f = 1 + 3 * c, 2 * c, 1 + 2 * c, 1 + c
    det = a * e * f - b * b * f - c * c * e
    effect, own, both = e * f / det, (a * f - c * c) / det, -b * f / det
    variance = float(effect + own + 2 * both)
    found = posterior.laws(np.array([[1.0]])).of_all(lambda law: law.variance())[0, 0]
    assert np.sqrt(found / variance) == pytest.approx(1.0, abs=1e-6)
    with pytest.warns(UserWarning, match="rounding then shows"):
        posterior.update(np.array([1e11]), 0, 1.0)
