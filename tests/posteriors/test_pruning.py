"""Choices that score contenders only, against the posterior's dense moments and against scoring every action."""

import numpy as np
import pytest
from scipy.special import ndtri_exp

from dts_gym.posteriors import action_posterior, pruning, reference
from dts_gym.posteriors.pruning import contenders
from dts_gym.posteriors.reference import Near
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
    near = Near(posterior.table.beta, np.empty(0))
    nothing, others = np.full(len(u), -np.inf), np.delete(np.arange(40), 7)
    best, rows, slots = contenders(posterior.table, u, norms, 1.0, 1.0, nothing, others, None, near)
    np.testing.assert_allclose(best, norms, rtol=1e-9)
    np.testing.assert_array_equal(rows, np.arange(len(u)))
    assert (slots == 7).all()


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rewards", [0, 500])
def test_choices_around_a_shared_draw_are_the_best_by_precisions(monkeypatch, scale, dtype, rewards):
    """With a shared part: scores given its draw by inverse covariances, for a batch, twice, with rewards in between."""
    monkeypatch.setattr(reference, "_FROM", 0)
    rng, d, K, n = np.random.default_rng(7), 4, 30, 100
    own, shared = (root @ root.T for root in rng.standard_normal((2, d, d)))
    posterior = TwoLevelPosterior(TwoLevelPrior(rng.standard_normal(d), shared, own), K, 0.5, dtype=dtype)
    actions = np.concatenate([np.arange(K), rng.integers(K, size=rewards)])
    posterior.update_all(rng.standard_normal((len(actions), d)), actions, rng.standard_normal(len(actions)))
    for seed in (5, 6):
        contexts, table = rng.standard_normal((n, d)), posterior.table
        assert len(posterior._reference().centers) == K
        draws = np.random.default_rng(seed)
        mean, root = posterior.shared_moments()
        m = (mean + scale * draws.standard_normal((n, d)) @ root.T) @ table.basis.T
        noise = draws.standard_normal((n, K))
        G, h = table.evidence()
        cov = np.linalg.inv(np.linalg.inv(own) + G)
        means = np.einsum("kij,nkj->nki", cov, (np.linalg.inv(own) @ m.T).T[:, None] + h)
        scores = np.einsum("nki,ni->nk", means, contexts)
        scores += scale * np.sqrt(np.einsum("kij,ni,nj->nk", cov, contexts, contexts)) * noise
        chosen = posterior.thompson(contexts, np.random.default_rng(seed), scale)
        np.testing.assert_array_equal(chosen, table.actions[scores.argmax(axis=1)])
        for x in contexts[:20]:
            posterior.update(x, int(rng.integers(K)), float(rng.standard_normal()))


def test_a_draw_by_bounds_is_the_draw_without(monkeypatch):
    """One context, many played actions, a few unplayed: the same choice from the same random numbers."""
    monkeypatch.setattr(reference, "_FROM", 0)
    rng, d, K = np.random.default_rng(8), 3, 60
    own, shared = (root @ root.T for root in rng.standard_normal((2, d, d)))
    posterior = TwoLevelPosterior(TwoLevelPrior(rng.standard_normal(d), shared, own), K, 0.5)
    posterior.update_all(rng.standard_normal((50, d)), np.arange(50), rng.standard_normal(50))
    mask = rng.random(K) < 0.4
    for allowed in (None, mask):
        chosen = []
        for least in (0, 1 << 30):
            monkeypatch.setattr(action_posterior, "_PRUNED_FROM", least)
            streams = (np.random.default_rng(i) for i in range(200))
            chosen.append([int(posterior.thompson(np.ones(d), stream, 1.0, allowed)) for stream in streams])
        assert chosen[0] == chosen[1]
        assert len(set(chosen[0])) > 5


def shared_posterior(rng, K, d, rewards, played=None, dtype="float64", shared_rank=None):
    """Actions around a shared part; the ``played`` first ones have rewards, all unless given."""
    own = rng.standard_normal((d, d))
    shared = rng.standard_normal((d, d if shared_rank is None else shared_rank))
    prior = TwoLevelPrior(rng.standard_normal(d), shared @ shared.T, own @ own.T)
    posterior = TwoLevelPosterior(prior, K, 0.5, dtype=dtype)
    actions = np.concatenate([np.arange(played or K), rng.integers(played or K, size=rewards)])
    posterior.update_all(rng.standard_normal((len(actions), d)), actions, rng.standard_normal(len(actions)))
    return posterior


@pytest.mark.parametrize("scale", [3.0, 0.3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("played", "rewards"), [(None, 0), (None, 500), (24, 200)])
@pytest.mark.parametrize("shared_rank", [None, 1])
@pytest.mark.parametrize("first", [2, 32])
def test_bounds_with_a_shared_part_are_the_largest_by_dense_moments(
    pruned, monkeypatch, scale, dtype, played, rewards, shared_rank, first
):
    """The marginal deviation has the shared part in it; one context and many, with and without a mask."""
    monkeypatch.setattr(reference, "_FROM", 0)
    monkeypatch.setattr(pruning, "_FIRST", first)
    rng, d, K, n = np.random.default_rng([rewards, played or 0]), 4, 40, 60
    posterior = shared_posterior(rng, K, d, rewards, played, dtype, shared_rank)
    assert len(posterior._reference().centers) == (played or K)
    for _ in range(2):
        contexts = rng.standard_normal((n, d))
        mean, std = dense_scores(posterior, contexts)
        bounds = mean + scale * std
        mask = rng.random(K) < 0.4
        for allowed in (None, mask):
            kept = bounds if allowed is None else np.where(allowed, bounds, -np.inf)
            near = 1e-10 if dtype == "float64" else 1e-5
            for picked in (
                posterior.upper_confidence(contexts, np.random.default_rng(5), scale, allowed),
                np.array([posterior.upper_confidence(x, np.random.default_rng(5), scale, allowed) for x in contexts]),
            ):
                best = kept.max(axis=1)
                np.testing.assert_allclose(kept[np.arange(n), picked], best, rtol=near, atol=near)
        few = [int(posterior.upper_confidence(x, np.random.default_rng(i), scale)) for i, x in enumerate(contexts)]
        pruned(False)
        assert few == [
            int(posterior.upper_confidence(x, np.random.default_rng(i), scale)) for i, x in enumerate(contexts)
        ]
        pruned(True)
        for x in contexts[:20]:
            posterior.update(x, int(rng.integers(played or K)), float(rng.standard_normal()))


def test_bounds_with_a_shared_part_leave_most_actions_unread(pruned, monkeypatch):
    """Of 3000 played actions the shared part's share in the deviation is computed for a few."""
    monkeypatch.setenv("DTS_GYM_FAST", "0")
    monkeypatch.setattr(reference, "_FROM", 0)
    rng = np.random.default_rng(3)
    posterior = shared_posterior(rng, 3000, 5, 6000)
    read = []
    along = pruning.variance_along
    monkeypatch.setattr(pruning, "variance_along", lambda rows, root: read.append(len(rows)) or along(rows, root))
    for x in rng.standard_normal((50, 5)):
        posterior.upper_confidence(x, rng, 3.0)
    assert 50 <= sum(read) < 0.02 * 50 * 3000
