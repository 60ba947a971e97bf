"""Choices that score contenders only, against the posterior's dense moments and against scoring every action."""

import numpy as np
import pytest
from scipy.special import ndtri_exp

from dts_gym.posteriors import action_posterior
from dts_gym.posteriors.pruning import contenders
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior


@pytest.fixture
def pruned(monkeypatch):
    def switch(on):
        monkeypatch.setattr(action_posterior, "_PRUNED_FROM", 0 if on else 1 << 60)

    switch(True)
    return switch


def played_posterior(rng, K, d, played, rewards, rank=None, noise_std=1.0, dtype="float64"):
    """Independent actions; some have many rewards, some one."""
    root = rng.standard_normal((d, d if rank is None else rank))
    prior = TwoLevelPrior(rng.standard_normal(d), np.zeros((d, d)), root @ root.T)
    posterior = TwoLevelPosterior(prior, K, noise_std, dtype=dtype)
    actions = rng.permutation(K)[:played]
    actions = np.concatenate([actions, rng.choice(actions[: max(1, played // 4)], rewards)])
    theta = prior.mean + rng.standard_normal((K, root.shape[1])) @ root.T
    contexts = rng.standard_normal((len(actions), d))
    posterior.update_all(
        contexts, actions, (contexts * theta[actions]).sum(axis=1) + noise_std * rng.standard_normal(len(actions))
    )
    return posterior


def dense_scores(posterior, contexts):
    """Means and standard deviations of every action's score, (n, K)."""
    K, d = posterior.num_actions, contexts.shape[1]
    mean, cov = posterior.moments()
    blocks = cov.reshape(K, d, K, d)[np.arange(K), :, np.arange(K)]
    return contexts @ mean.T, np.sqrt(np.einsum("nd,kde,ne->nk", contexts, blocks, contexts).clip(0.0))


@pytest.mark.parametrize("rewards", [0, 40, 2000])
@pytest.mark.parametrize(("played", "rank"), [(30, None), (30, 2), (12, None)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_choices_are_the_best_by_dense_moments(pruned, rewards, played, rank, scale, dtype):
    rng = np.random.default_rng([rewards, played, rank or 0])
    K, d, n = 30, 4, 200
    posterior = played_posterior(rng, K, d, played, rewards, rank, dtype=dtype)
    contexts = rng.standard_normal((n, d))
    mean, std = dense_scores(posterior, contexts)
    order = posterior.table.actions
    unplayed = np.setdiff1d(np.arange(K), order)

    seed = np.random.default_rng(5)
    noise = seed.standard_normal((n, played))
    scores = mean[:, order] + scale * std[:, order] * noise
    expected = order[scores.argmax(axis=1)]
    chosen = posterior.thompson(contexts, np.random.default_rng(5), scale)
    if len(unplayed):
        top = ndtri_exp(seed.standard_exponential(n) / -len(unplayed))
        other = mean[:, unplayed[0]] + scale * std[:, unplayed[0]] * top > scores.max(axis=1)
        assert 0 < other.sum() < n
        assert np.isin(chosen[other], unplayed).all()
        np.testing.assert_array_equal(chosen[~other], expected[~other])
    else:
        np.testing.assert_array_equal(chosen, expected)

    bounds = mean + scale * std
    picked = posterior.upper_confidence(contexts, np.random.default_rng(5), scale)
    best = bounds.max(axis=1)
    np.testing.assert_allclose(bounds[np.arange(n), picked], best, rtol=1e-10 if dtype == "float64" else 1e-6)

    # One context at a time: the draws of a posterior that scores every action.
    for choose in (posterior.thompson, posterior.upper_confidence):
        few = [int(choose(x, np.random.default_rng(i), scale)) for i, x in enumerate(contexts[:40])]
        pruned(False)
        assert few == [int(choose(x, np.random.default_rng(i), scale)) for i, x in enumerate(contexts[:40])]
        pruned(True)


def test_where_all_are_contenders_all_are_scored(pruned):
    """A context of zeros: every score is the same, and ties are broken evenly, played or not."""
    rng = np.random.default_rng(1)
    posterior = played_posterior(rng, 8, 3, 6, 10)
    counts = np.bincount(posterior.upper_confidence(np.zeros((8000, 3)), rng), minlength=8)
    # Chi-square with 7 degrees of freedom exceeds 42 once in two million.
    assert ((counts - 1000) ** 2 / 1000).sum() < 42
    # Much noise of little reach: bounds are loose, so most actions stay contenders.
    known = played_posterior(rng, 40, 3, 40, 20_000, noise_std=0.1)
    contexts = rng.standard_normal((50, 3))
    mean, std = dense_scores(known, contexts)
    order, noise = known.table.actions, np.random.default_rng(2).standard_normal((50, 40))
    expected = order[(mean[:, order] + std[:, order] * noise).argmax(axis=1)]
    np.testing.assert_array_equal(known.thompson(contexts, np.random.default_rng(2)), expected)


def test_most_actions_are_not_scored(pruned, monkeypatch):
    """Of 3000 played actions a choice reads the matrices of a few."""
    rng = np.random.default_rng(3)
    posterior = played_posterior(rng, 3000, 5, 3000, 3000)
    read = []
    einsum = np.einsum
    monkeypatch.setattr(np, "einsum", lambda spec, *arrays: read.append(len(arrays[0])) or einsum(spec, *arrays))
    for x in rng.standard_normal((50, 5)):
        posterior.thompson(x, rng)
    assert sum(read) < 0.05 * 50 * 3000


def test_no_action_is_lost_to_rounding_in_its_own_bound():
    """An action without evidence has a bound that its score equals, but for the last digit: it must not be pruned."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((20, 20))
    posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(20), np.zeros((20, 20)), root @ root.T), 40, 1.0)
    posterior.update_all(np.zeros((40, 20)), np.arange(40), np.zeros(40))  # contexts of zeros tell nothing
    u = (rng.standard_normal((2_000, 20)) @ posterior.table.basis) * posterior.table.reached
    norms = np.sqrt((u * u).sum(axis=1))
    nothing, others = np.full(len(u), -np.inf), np.delete(np.arange(40), 7)
    best, rows, slots = contenders(posterior.table, u, norms, 1.0, 1.0, nothing, others)
    np.testing.assert_allclose(best, norms, rtol=1e-9)
    np.testing.assert_array_equal(rows, np.arange(len(u)))
    assert (slots == 7).all()
