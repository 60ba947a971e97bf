"""Surrogates against dense Gaussian likelihoods, closed forms and a general-purpose optimiser."""

import numpy as np
import pytest
from scipy.optimize import minimize

from dts_gym.posteriors.chain.chain import as_chain
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.races import raced_tangents
from dts_gym.posteriors.chain.surrogates import deck_surrogates, statistical_surrogates
from dts_gym.posteriors.chain.tangents import climbed_tangents, jacobian_surrogates
from dts_gym.posteriors.evidence import Evidence, log_evidence, through_noise
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.links import AffineLink, MLPLink
from truth import random_chain, random_cov


def mlp_prior(rng, depth, branch=0, d=2, hidden=8, activation="tanh"):
    def link():
        return MLPLink(
            [rng.uniform(-1, 1, (hidden, d)), rng.uniform(-1, 1, (d, hidden))],
            [rng.uniform(-1, 1, hidden), rng.uniform(-1, 1, d)],
            activation,
        )

    return DiffusionPrior([link() for _ in range(depth)], [random_cov(rng, d, 0.2) for _ in range(depth + 1)], branch)


def random_evidence(rng, K, d=2):
    """On theta, one action a row; the last action has no data, the one before it a single observation."""
    X = rng.standard_normal((K, 3, d))
    X[-1] = 0
    X[-2, 1:] = 0
    G = np.einsum("kni,knj->kij", X, X) / 0.5
    return Evidence(G, np.einsum("kni,kn->ki", X, rng.standard_normal((K, 3)) + 2.0))


def message_of(prior, evidence):
    message = through_noise(*evidence, prior.covariances[0])
    return message if prior.branch else Evidence(message.G.sum(axis=0), message.h.sum(axis=0))


@pytest.mark.parametrize("kind", ["statistical", "jacobian"])
def test_an_affine_link_is_its_own_surrogate_but_for_the_deck(kind):
    rng = np.random.default_rng(0)
    prior = random_chain(rng, 3, least=0.2)
    if kind == "statistical":
        surrogates = statistical_surrogates(prior, rng)
    else:
        surrogates = jacobian_surrogates(prior, message_of(prior, random_evidence(rng, 4))).surrogates
    for (A, c), link in zip(surrogates, prior.links, strict=True):
        np.testing.assert_array_equal(A, link.weight)
        np.testing.assert_array_equal(c, link.offset)
    for A, c in deck_surrogates(prior):
        np.testing.assert_array_equal(A, np.eye(2))
        np.testing.assert_array_equal(c, np.zeros(2))


def test_the_statistical_surrogate_of_a_relu_has_slope_and_offset_in_closed_form():
    """Regression of ``max(x, 0)``, x ~ N(0, 1): slope 1/2, offset ``(2 pi)^-1/2``. |z| < 4.5, errors by repetition."""
    relu = MLPLink([np.eye(1), np.eye(1)])
    prior = DiffusionPrior([relu], [np.eye(1)] * 2)
    found = [statistical_surrogates(prior, np.random.default_rng(i), 2_000)[0] for i in range(100)]
    for values, truth in (([m.weight for m in found], 0.5), ([m.offset for m in found], 1 / np.sqrt(2 * np.pi))):
        assert abs(np.mean(values) - truth) / (np.std(values) / 10.0) < 4.5
        assert np.std(values) < 0.05


def test_the_statistical_surrogate_predicts_the_level_below_best():
    """Residuals of prior draws, of the level below and not of the link's value, are uncorrelated with predictors."""
    rng = np.random.default_rng(1)
    prior = mlp_prior(rng, 2)
    surrogates = statistical_surrogates(prior, rng, 200_000)
    draws = [np.concatenate(level) for level in zip(*(prior.sample_chain(rng, 1) for _ in range(4_000)), strict=True)]
    for (A, c), above, below in zip(surrogates, draws[1:], draws[:-1], strict=True):
        residual = below - above @ A.T - c
        products = residual[:, :, None] * np.column_stack([np.ones(len(above)), above])[:, None, :]
        z = products.mean(axis=0) / (products.std(axis=0) / np.sqrt(len(above)))
        assert np.abs(z).max() < 4.5


@pytest.mark.parametrize(("depth", "branch"), [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2), (2, 2)])
def test_messages_are_the_likelihood_of_the_level_under_the_linear_chain(depth, branch):
    """``(G_ell, h_ell)`` against the normal distribution of the data: the marginal of theta given ``psi_ell``."""
    rng = np.random.default_rng([depth, branch])
    K, d = 3, 2
    prior = random_chain(rng, depth, branch, least=0.2)
    X, y = rng.standard_normal((K, 4, d)), rng.standard_normal((K, 4))
    evidence = Evidence(np.einsum("kni,knj->kij", X, X), np.einsum("kni,kn->ki", X, y))
    messages = upward_messages(prior, statistical_surrogates(prior, rng), message_of(prior, evidence), branch)
    for ell in range(1, depth + 1):
        # theta = slope psi_ell + offset + noise of covariance cov, jointly over the actions below.
        rows = [[a] for a in range(K)] if ell <= branch else [list(range(K))]
        for row, actions in enumerate(rows):
            slope, offset, cov = np.eye(d), np.zeros(d), np.zeros((d * len(actions),) * 2)
            offset, slope = np.tile(offset, len(actions)), np.tile(slope, (len(actions), 1))
            for low in range(ell, 0, -1):
                W = np.kron(np.eye(len(actions)), prior.weights[low - 1])
                together = np.eye(len(actions)) if low - 1 <= branch else np.ones((len(actions),) * 2)
                slope, offset = W @ slope, W @ offset + np.tile(prior.offsets[low - 1], len(actions))
                cov = W @ cov @ W.T + np.kron(together, prior.covariances[low - 1])
            H = np.zeros((4 * len(actions), d * len(actions)))
            for i, a in enumerate(actions):
                H[4 * i : 4 * i + 4, d * i : d * i + d] = X[a]
            P = np.linalg.inv(H @ cov @ H.T + np.eye(len(H)))
            G = slope.T @ H.T @ P @ H @ slope
            h = slope.T @ H.T @ P @ (y[actions].ravel() - H @ offset)
            got = messages.latents[ell - 1]
            np.testing.assert_allclose(got.G[row] if ell <= branch else got.G, G, atol=1e-10)
            np.testing.assert_allclose(got.h[row] if ell <= branch else got.h, h, atol=1e-10)


def path_density(prior, message, path, branch):
    """Log density of a path, written out with inverses."""
    total, K = 0.0, len(np.atleast_2d(message.h))
    for a in range(K):
        f = path[0][a] if path[0].ndim == 2 else path[0]
        G, h = (message.G[a], message.h[a]) if message.h.ndim == 2 else (message.G, message.h)
        value = prior.links[0](f)
        total += -value @ G @ value / 2 + h @ value
    for ell, psi in enumerate(path, start=1):
        above = np.zeros(2) if ell == len(path) else prior.links[ell](path[ell])
        for row in np.atleast_2d(psi - above):
            total -= row @ np.linalg.inv(prior.covariances[ell]) @ row / 2
    return total


@pytest.mark.parametrize("activation", ["tanh", "silu"])
@pytest.mark.parametrize(("depth", "branch"), [(1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2)])
def test_the_path_is_a_mode_and_the_tangents_are_taken_there(depth, branch, activation):
    rng = np.random.default_rng([depth, branch, len(activation)])
    prior = mlp_prior(rng, depth, branch, activation=activation)
    message = message_of(prior, random_evidence(rng, 3))
    found = jacobian_surrogates(prior, message, branch, max_passes=200, tolerance=1e-12)
    shapes = [psi.shape for psi in found.path]
    assert shapes == [(3, 2) if ell <= branch else (2,) for ell in range(1, depth + 1)]
    splits = np.cumsum([psi.size for psi in found.path])[:-1]

    def objective(flat):
        parts = np.split(flat, splits)
        path = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return -path_density(prior, message, path, branch)

    start = np.concatenate([psi.ravel() for psi in found.path])
    assert found.log_density == pytest.approx(-objective(start), abs=1e-9)
    best = minimize(objective, start, method="BFGS", options={"gtol": 1e-7})
    assert -best.fun - found.log_density < 1e-6
    for (A, c), link, psi in zip(found.surrogates, prior.links, found.path, strict=True):
        for step in 1e-6 * np.eye(2):
            moved = (link(psi + step) - link(psi - step)) / 2e-6
            np.testing.assert_allclose((A @ (step / 1e-6)[:, None])[..., 0], moved, atol=1e-6)
        np.testing.assert_allclose((A @ psi[..., None])[..., 0] + c, link(psi), atol=1e-12)


def test_rows_of_independent_chains_are_as_one_by_one():
    rng = np.random.default_rng(5)
    prior = mlp_prior(rng, 2, 2)
    message = message_of(prior, random_evidence(rng, 4))
    together = jacobian_surrogates(prior, message, 2, max_passes=50, tolerance=1e-12)
    for a in range(4):
        alone = jacobian_surrogates(prior, Evidence(message.G[a], message.h[a]), 2, max_passes=50, tolerance=1e-12)
        np.testing.assert_allclose(together.log_density[a], alone.log_density, atol=1e-8)
        np.testing.assert_allclose(together.surrogates[1].weight[a], alone.surrogates[1].weight, atol=1e-4)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_warm_start_never_ends_lower_and_does_not_stay_where_relus_are_flat(branch):
    rng = np.random.default_rng(6)
    flat = MLPLink([np.eye(2), np.eye(2)])  # no slope at zero, which is the mode without data
    prior = DiffusionPrior([flat, flat], [random_cov(rng, 2, 0.2) for _ in range(3)], branch)
    message = message_of(prior, random_evidence(rng, 3))
    message = Evidence(message.G, 5 * np.abs(message.h))
    nothing = jacobian_surrogates(prior, Evidence(0 * message.G, 0 * message.h), branch)
    for psi in nothing.path:
        np.testing.assert_array_equal(psi, 0.0)
    cold = jacobian_surrogates(prior, message, branch)
    warm = jacobian_surrogates(prior, message, branch, nothing.path)
    assert (warm.log_density >= cold.log_density - 1e-9).all()
    assert warm.log_density.sum() > 0.1  # of the warm start itself: 0
    again = jacobian_surrogates(prior, message, branch, warm.path)
    assert (again.log_density >= warm.log_density - 1e-9).all()
    assert [psi.shape for psi in again.path] == [psi.shape for psi in cold.path]


def test_many_starts_at_once_are_as_one_by_one():
    rng = np.random.default_rng(9)
    prior = mlp_prior(rng, 2, activation="relu")
    message = message_of(prior, random_evidence(rng, 3))
    starts = [3 * rng.standard_normal((6, 2)) for _ in range(2)]
    together = jacobian_surrogates(prior, message, start=starts)
    for i in range(6):
        alone = jacobian_surrogates(prior, message, start=[psi[i] for psi in starts], max_passes=8)
        assert together.log_density[i] >= alone.log_density - 1e-2
        assert together.path[1][i].shape == alone.path[1].shape


def test_following_the_tangents_goes_up_and_evaluates_no_link_where_nothing_is_promised():
    rng = np.random.default_rng(10)
    prior = mlp_prior(rng, 3)
    message = message_of(prior, random_evidence(rng, 3))
    last = jacobian_surrogates(prior, message, max_passes=200, tolerance=1e-12)
    moved = Evidence(message.G, message.h + rng.standard_normal(2))
    before = path_density(prior, moved, last.path, 0)
    once = climbed_tangents(prior, moved, last)
    assert once.log_density == pytest.approx(path_density(prior, moved, once.path, 0), abs=1e-9)
    assert once.log_density > before + 1e-3
    often = climbed_tangents(prior, moved, last, max_passes=200, tolerance=1e-12)
    assert often.log_density == pytest.approx(jacobian_surrogates(prior, moved, 0, last.path).log_density, abs=1e-2)
    for (A, c), link, psi in zip(often.surrogates, prior.links, often.path, strict=True):
        np.testing.assert_allclose(A @ psi + c, link(psi), atol=1e-12)

    class Untouched(AffineLink):
        affine = False

        def __call__(self, psi):
            raise AssertionError("a link was evaluated")

    chain = as_chain(prior)._replace(links=tuple(Untouched(np.eye(2)) for _ in range(3)))
    barely = Evidence(message.G, message.h + 1e-3)
    stayed = climbed_tangents(chain, barely, last)
    assert stayed.path is last.path
    assert stayed.log_density == pytest.approx(path_density(prior, barely, last.path, 0), abs=1e-9)
    with pytest.raises(AssertionError, match="a link was evaluated"):
        climbed_tangents(chain, moved, last)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_densest_tangents_are_about_as_dense_as_the_best_search_alone(activation):
    """Searches that fall behind are given up: the best end may be lost, but seldom; 20 priors, 8 starts each."""
    lost = []
    for seed in range(20):
        rng = np.random.default_rng([11, seed])
        prior = mlp_prior(rng, 2, activation=activation)
        message = message_of(prior, random_evidence(rng, 3))
        starts = [3 * rng.standard_normal((8, 2)) for _ in range(2)]
        found = raced_tangents(prior, message, starts)[0]
        assert found.log_density == pytest.approx(path_density(prior, message, found.path, 0), abs=1e-9)
        alone = [jacobian_surrogates(prior, message, 0, [psi[i] for psi in starts]).log_density for i in range(8)]
        assert found.log_density >= jacobian_surrogates(prior, message).log_density - 0.1
        lost.append(max(alone) - found.log_density)
    assert np.mean(lost) < 0.1
    assert np.mean(np.array(lost) < 0.01) >= 0.75


def test_singular_noise_keeps_the_path_on_its_range():
    rng = np.random.default_rng(7)
    plain = mlp_prior(rng, 3)
    axis = np.array([[0.6], [0.8]])
    covs = [np.eye(2), axis @ axis.T, np.zeros((2, 2)), np.eye(2)]
    prior = DiffusionPrior(plain.links, covs)
    found = jacobian_surrogates(prior, Evidence(2 * np.eye(2), np.ones(2)), max_passes=50)
    psi_1, psi_2, psi_3 = found.path
    np.testing.assert_allclose(psi_2, prior.links[2](psi_3), atol=1e-12)
    assert abs(np.array([0.8, -0.6]) @ (psi_1 - prior.links[1](psi_2))) < 1e-12

    def objective(free):  # psi_3 and the one free direction of psi_1
        psi = prior.links[1](prior.links[2](free[:2])) + axis[:, 0] * free[2]
        value = prior.links[0](psi)
        return (free @ free) / 2 + value @ value - value.sum()

    free = np.append(psi_3, axis[:, 0] @ (psi_1 - prior.links[1](psi_2)))
    assert found.log_density == pytest.approx(-objective(free), abs=1e-9)
    assert minimize(objective, free, method="BFGS").fun > objective(free) - 1e-3


def test_log_evidence_is_the_quadratic_form():
    rng = np.random.default_rng(8)
    evidence = random_evidence(rng, 3)
    v = rng.standard_normal((5, 3, 4, 2))
    got = log_evidence(evidence, v)
    for n, a, p in np.ndindex(5, 3, 4):
        u = v[n, a, p]
        assert got[n, a, p] == pytest.approx(-u @ evidence.G[a] @ u / 2 + evidence.h[a] @ u)


def test_refusals_name_the_argument():
    class Broken(AffineLink):
        affine = False

        def __call__(self, psi):
            return np.full_like(psi, np.nan)

    chain = DiffusionPrior([Broken(np.eye(2))], [np.eye(2)] * 2)
    with pytest.raises(ValueError, match=r"links\[0\] must return finite values"):
        as_chain(chain)
    prior = random_chain(np.random.default_rng(0), 2, least=0.2)
    with pytest.raises(ValueError, match="num_draws must be an integer >= 3"):
        statistical_surrogates(prior, np.random.default_rng(0), 2)
    with pytest.raises(ValueError, match=r"branch must be an integer in 0\.\.2"):
        jacobian_surrogates(prior, Evidence(np.eye(2), np.zeros(2)), 3)
    with pytest.raises(ValueError, match="number of links"):
        as_chain(LinearDiffusionPrior([], [np.eye(2)]))
