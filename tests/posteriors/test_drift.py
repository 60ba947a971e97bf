"""A million rewards of one action: messages and moments against extended precision, computed from scratch."""

from fractions import Fraction

import numpy as np
import pytest

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.evidence import learn, learn_all
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from truth import random_cov

WIDE = np.longdouble


def solve(matrix, right, number=WIDE):
    """Gauss-Jordan elimination with pivoting, in extended precision or in rational numbers."""
    n = len(matrix)
    rows = np.concatenate([matrix, right], axis=1).astype(number if number is WIDE else object)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(rows[k:, k])))
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] /= rows[k, k]
        others = np.arange(n) != k
        rows[others] -= np.outer(rows[others, k], rows[k])
    return rows[:, n:]


def message(G, h, S):
    """``(I + G S)^-1 (G, h)`` in extended precision."""
    d = len(S)
    solved = solve(np.eye(d, dtype=WIDE) + G @ S.astype(WIDE), np.column_stack([G, h]))
    return solved[:, :d], solved[:, d]


def feed(observe, theta, updates, noise_std, rng, context_map=None):
    """Hand rewards to ``observe`` and sum their evidence in extended precision."""
    d = len(theta)
    G, h = np.zeros((d, d), dtype=WIDE), np.zeros(d, dtype=WIDE)
    for _ in range(updates // 1000):
        contexts = rng.standard_normal((1000, d)) if context_map is None else context_map(rng)
        rewards = contexts @ theta + noise_std * rng.standard_normal(1000)
        wide = contexts.astype(WIDE)
        G += wide.T @ wide
        h += wide.T @ rewards.astype(WIDE)
        for x, y in zip(contexts, rewards.tolist(), strict=True):
            observe(x, y)
    return G / WIDE(noise_std) ** 2, h / WIDE(noise_std) ** 2


@pytest.mark.parametrize(
    ("updates", "d"),
    [(100_000, 5), *(pytest.param(1_000_000, d, marks=pytest.mark.slow) for d in (5, 20))],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_million_updates_of_one_action_do_not_drift(updates, d, dtype):
    rng = np.random.default_rng([updates, d])
    S, C = random_cov(rng, d, 0.0, 2 * d), random_cov(rng, d, 0.0, 2 * d)
    posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(d), C, S), 3, 0.5, dtype=dtype)
    theta = rng.standard_normal(d)
    G, h = feed(lambda x, y: posterior.update(x, 1, y), theta, updates, 0.5, rng)

    table, gamma, beta = posterior.table, *message(G, h, S)
    inverse = table.inverse
    got_gamma = inverse.T @ table.gamma(0) @ inverse
    assert np.abs(got_gamma - gamma).max() < 3e-14 * np.abs(gamma).max()
    assert np.abs(table.beta[0] @ inverse - beta).max() < 3e-13 * np.abs(beta).max()
    got_G, got_h = (part[0] for part in table.evidence())
    assert np.abs(got_G - G).max() < 1e-10 * np.abs(G).max()
    assert np.abs(got_h - h).max() < 1e-10 * np.abs(h).max()

    # The shared part's posterior has covariance (I + C Gamma)^-1 C, an action's own T = S - S Gamma S given it.
    identity = np.eye(d, dtype=WIDE)
    shared = solve(identity + C @ gamma, np.column_stack([C, C @ beta]))
    follow = identity - S @ gamma
    own = S - S @ gamma @ S
    zero = np.zeros_like(own)
    follows = np.concatenate([identity, follow, identity])
    cov = follows @ shared[:, :d] @ follows.T
    cov += np.block([[S, zero, zero], [zero, own, zero], [zero, zero, S]])
    mean = (follows @ shared[:, d]).reshape(3, d)
    mean[1] += S @ beta
    got_mean, got_cov = posterior.moments()
    assert np.abs(got_mean - mean).max() < 1e-12 * np.abs(mean).max()
    assert np.abs(got_cov - cov).max() < 1e-12 * np.abs(cov).max()
    # What is left of the played action's own uncertainty is right as well, small as it is.
    block = got_cov[d : 2 * d, d : 2 * d]
    assert np.abs(block - cov[d : 2 * d, d : 2 * d]).max() < 1e-9 * np.abs(block).max()


def one_line(d):
    axis = np.arange(1.0, d + 1) / d

    def contexts(rng):
        return rng.standard_normal((1000, 1)) * axis

    return contexts


@pytest.mark.parametrize("smallest", [1.0, 1e-9, 0.0])
@pytest.mark.parametrize(("noise_std", "lines"), [(1.0, False), (1e-3, False), (1e-2, True)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rounding_stays_small_for_precise_rewards_and_for_nearly_singular_noise(smallest, noise_std, lines, dtype):
    rng = np.random.default_rng(5)
    d = 4
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    S = (axes * np.array([1.0, 1.0, 0.5, smallest])) @ axes.T
    S = (S + S.T) / 2
    table = ActionTable(S, dtype)
    theta = axes @ (np.sqrt([1.0, 1.0, 0.5, smallest]) * rng.standard_normal(d))
    context_map = one_line(d) if lines else None
    G, h = feed(lambda x, y: table.observe(7, x, y, noise_std**2), theta, 20_000, noise_std, rng, context_map)
    gamma, beta = message(G, h, S)
    T = np.diag(table.reached) - table.gamma(0) * np.outer(table.reached, table.reached)
    assert np.abs(table.basis @ T @ table.basis.T - (S - S @ gamma @ S)).max() < 1e-9
    assert np.abs(table.basis @ (table.reached * table.beta[0]) - S @ beta).max() < 1e-9


def test_rewards_without_noise_to_speak_of_do_not_blow_up():
    """The signal is 1e9 noise deviations, beyond what float64 resolves; rounding must not feed on itself."""
    rng = np.random.default_rng(6)
    posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(3), 0.3 * np.eye(3), np.eye(3)), 3, 1e-6)
    theta = rng.standard_normal(3)
    feed(lambda x, y: posterior.update(x, 0, y), theta, 20_000, 1e-6, rng, lambda rng: rng.normal(0, 1e3, (1000, 3)))
    mean, cov = posterior.moments()
    np.testing.assert_allclose(mean[0], theta, atol=1e-8)
    np.testing.assert_allclose(mean[1], theta * 0.3 / 1.3, atol=1e-6)
    np.testing.assert_allclose(np.diag(cov)[:3], 0.0, atol=1e-12)


@pytest.mark.parametrize("n", [3, 30])
@pytest.mark.parametrize("precise", [1.0, 1e-6, 1e-9])
def test_learn_all_against_rational_numbers(n, precise):
    """Also where a few observations are far more precise than the rest and than the prior."""
    rng = np.random.default_rng(7)
    D, r = 5, 4
    mean, root = rng.standard_normal(D), rng.standard_normal((D, r))
    reach = rng.standard_normal((n, D)) @ root
    variances = np.where(np.arange(n) < 2, precise, 1.0) ** 2
    residuals = reach @ rng.standard_normal(r) + np.sqrt(variances) * rng.standard_normal(n)
    wide_reach, wide_root, wide_variances = (np.vectorize(Fraction)(part) for part in (reach, root, variances))
    weighed = wide_reach.T / wide_variances
    right = np.column_stack([wide_root.T, weighed @ np.vectorize(Fraction)(residuals)])
    moved = wide_root @ solve(np.eye(r, dtype=int) + weighed @ wide_reach, right, Fraction)
    got_mean, got_root = mean.copy(), root.copy()
    learn_all(got_mean, got_root, reach, residuals, variances)
    np.testing.assert_allclose(got_mean, mean + moved[:, -1].astype(float), atol=1e-13, rtol=0)
    np.testing.assert_allclose(got_root @ got_root.T, moved[:, :-1].astype(float), atol=1e-13, rtol=0)
    # One observation is what `learn` takes.
    one, other = (mean.copy(), root.copy()), (mean.copy(), root.copy())
    learn_all(*one, reach[:1], residuals[:1], variances[:1])
    learn(*other, reach[0], float(residuals[0]), float(variances[0]))
    np.testing.assert_allclose(one[0], other[0], atol=1e-13, rtol=0)
    np.testing.assert_allclose(one[1] @ one[1].T, other[1] @ other[1].T, atol=1e-13, rtol=0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("d", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_many_batches_do_not_drift(d, dtype):
    """As the test of a million single updates: eight actions, 100 000 rewards (a million at d = 20)."""
    rng = np.random.default_rng(d)
    K, size, batches = 8, 200, 500 if d == 5 else 5000
    S, C = random_cov(rng, d, 0.0, 2 * d), random_cov(rng, d, 0.0, 2 * d)
    posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(d), C, S), K, 0.5, dtype=dtype)
    theta = rng.standard_normal((K, d))
    G, h = np.zeros((K, d, d), dtype=np.longdouble), np.zeros((K, d), dtype=np.longdouble)
    for _ in range(batches):
        contexts, actions = rng.standard_normal((size, d)), rng.integers(K, size=size)
        rewards = (contexts * theta[actions]).sum(axis=1) + 0.5 * rng.standard_normal(size)
        posterior.update_all(contexts, actions, rewards)
        for action in range(K):
            wide = contexts[actions == action].astype(np.longdouble)
            G[action] += wide.T @ wide * 4
            h[action] += wide.T @ rewards[actions == action].astype(np.longdouble) * 4
    messages = [message(G[a], h[a], S) for a in range(K)]
    got = posterior.table.messages([posterior.table.slots[a] for a in range(K)])
    for a, (gamma, beta) in enumerate(messages):
        assert np.abs(got.G[a] - gamma).max() < 3e-14 * np.abs(gamma).max()
        assert np.abs(got.h[a] - beta).max() < 3e-13 * np.abs(beta).max()
    total = sum(gamma for gamma, _ in messages)
    shared = solve(np.eye(d) + C @ total, np.column_stack([C, C @ sum(beta for _, beta in messages)]))
    mean, root = posterior._shared_moments(1.0)
    basis = posterior.table.basis
    assert np.abs(basis @ mean - shared[:, -1]).max() < 1e-12 * np.abs(shared[:, -1]).max()
    cov = basis @ root @ root.T @ basis.T
    assert np.abs(cov - shared[:, :-1]).max() < 1e-12 * np.abs(cov).max()


@pytest.mark.parametrize("smallest", [1e-9, 0.0])
def test_layers_count_as_known_what_single_observations_do(smallest):
    """Precise rewards and nearly singular noise: the table against extended precision, as for single rewards."""
    rng = np.random.default_rng(5)
    d, noise_std, K = 4, 1e-3, 5
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    S = (axes * np.array([1.0, 1.0, 0.5, smallest])) @ axes.T
    S = (S + S.T) / 2
    table = ActionTable(S)
    theta = axes @ (np.sqrt([1.0, 1.0, 0.5, smallest]) * rng.standard_normal(d))
    G, h = np.zeros((d, d), dtype=np.longdouble), np.zeros(d, dtype=np.longdouble)
    for _ in range(1000):
        contexts = rng.standard_normal((20, d))
        rewards = contexts @ theta + noise_std * rng.standard_normal(20)
        G += contexts.astype(np.longdouble).T @ contexts
        h += contexts.astype(np.longdouble).T @ rewards
        # Every action sees the same rewards: layers of five.
        table.observe_all(
            np.tile(np.arange(K), 20), np.repeat(contexts, K, axis=0), np.repeat(rewards, K), noise_std**2
        )
    gamma, beta = message(G / np.longdouble(noise_std) ** 2, h / np.longdouble(noise_std) ** 2, S)
    for slot in range(K):
        T = np.diag(table.reached) - table.gamma(slot) * np.outer(table.reached, table.reached)
        assert np.abs(table.basis @ T @ table.basis.T - (S - S @ gamma @ S)).max() < 1e-9
        assert np.abs(table.basis @ (table.reached * table.beta[slot]) - S @ beta).max() < 1e-9


def test_batches_of_rewards_without_noise_to_speak_of_do_not_blow_up():
    """As `test_rewards_without_noise_to_speak_of_do_not_blow_up`, in layers of four actions."""
    rng = np.random.default_rng(6)
    K, d = 4, 3
    posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(d), 0.3 * np.eye(d), np.eye(d)), K + 1, 1e-6)
    theta, actions = rng.standard_normal((K, d)), np.arange(400) % K
    for _ in range(50):
        contexts = rng.normal(0, 1e3, (400, d))
        rewards = (contexts * theta[actions]).sum(axis=1) + 1e-6 * rng.standard_normal(400)
        posterior.update_all(contexts, actions, rewards)
    mean, cov = posterior.moments()
    np.testing.assert_allclose(mean[:K], theta, atol=1e-8)
    np.testing.assert_allclose(mean[K], theta.sum(axis=0) * 0.3 / (1.0 + K * 0.3), atol=1e-6)
    np.testing.assert_allclose(np.diag(cov)[: K * d], 0.0, atol=1e-12)
