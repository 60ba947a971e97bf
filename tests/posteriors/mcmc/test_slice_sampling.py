"""Slice sampling against dense Gaussian posteriors and a grid; its diagnostics against known autocorrelations."""

import numpy as np
import pytest

from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors.evidence import through_noise
from dts_gym.posteriors.mcmc.convergence import effective_draws, split_r_hat
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.links import MLPLink
from truth import random_chain, random_cov


def linear_case(depth, branch, K=3, d=2):
    """A linear chain, messages of its actions, and the exact moments of ``f_1(psi_1)`` of all actions, from joint ones.

    ``m`` (K d,) and ``C`` are the prior moments of the means, ``theta = mean + N(0, Sigma_1)``.
    """
    rng = np.random.default_rng([depth, branch])
    prior = random_chain(rng, depth, branch, d, least=0.2)
    weights, covs = prior.weights, prior.covariances
    X, y = rng.standard_normal((K, 2, d)), rng.standard_normal((K, 2))
    gamma, beta = through_noise(np.einsum("kni,knj->kij", X, X), np.einsum("kni,kn->ki", X, y), covs[0])
    m, C = np.zeros(K * d), np.zeros((K * d, K * d))
    for ell in range(depth, 0, -1):
        C = C + np.kron(np.eye(K) if ell <= branch else np.ones((K, K)), covs[ell])
        W = np.kron(np.eye(K), weights[ell - 1])
        m, C = W @ m + np.tile(prior.offsets[ell - 1], K), W @ C @ W.T
    H = np.zeros((2 * K, K * d))
    for a in range(K):
        H[2 * a : 2 * a + 2, d * a : d * a + d] = X[a]
    S = H @ (C + np.kron(np.eye(K), covs[0])) @ H.T + np.eye(2 * K)
    gain = np.linalg.solve(S, H @ C).T
    return prior, gamma, beta, (m + gain @ (y.ravel() - H @ m)).reshape(K, d), C - gain @ H @ C, rng


@pytest.mark.parametrize(("depth", "branch"), [(1, 0), (2, 0), (2, 1), (2, 2), (3, 2)])
def test_a_linear_chain_gives_the_dense_posterior(depth, branch):
    """Means and second moments, |z| < 4.5 with errors from the spread over 200 independent chains."""
    prior, gamma, beta, mean, cov, rng = linear_case(depth, branch)
    if branch == 0:
        gamma, beta, mean, cov = gamma.sum(axis=0), beta.sum(axis=0), mean[0], cov[:2, :2]
    found = slice_sample(prior, gamma, beta, rng, 60, thin=2, burn_in=150, chains=200, branch=branch)
    assert found.values.shape == (60, 200, *beta.shape)
    flat = (found.values - mean).reshape(60, 200, -1)
    products = np.einsum("sci,scj->cij", flat, flat) / 60
    truth = cov * np.kron(np.eye(3), np.ones((2, 2))) if branch == depth else cov
    used = truth != 0  # at branch L rows of one chain are independent problems
    if branch < depth:
        used[:] = True
    for values, expected in ((flat.mean(axis=0), np.zeros(flat.shape[-1])), (products[:, used], truth[used])):
        z = (values.mean(axis=0) - expected) / (values.std(axis=0, ddof=1) / np.sqrt(200))
        assert np.abs(z).max() < 4.5


def grid_draws(prior, gamma, beta, rng, size, num_cells=(81, 121)):
    """Draws of ``f_1(psi_1)`` for L = 2, d = 2: psi_2 summed out over a grid, psi_1 from a grid with jitter."""
    covs = prior.covariances
    reach = 5.0 * np.sqrt(np.diagonal(covs[2]))
    axes = [np.linspace(-r, r, num_cells[0]) for r in reach]
    psi_2 = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prior = -0.5 * np.einsum("ni,ij,nj->n", psi_2, np.linalg.inv(covs[2]), psi_2)
    psi_2, log_prior = psi_2[log_prior > -11], log_prior[log_prior > -11]
    center = prior.links[1](psi_2)
    margin = 5.0 * np.sqrt(np.diagonal(covs[1]))
    low, high = center.min(axis=0) - margin, center.max(axis=0) + margin
    axes = [np.linspace(a, b, num_cells[1]) for a, b in zip(low, high, strict=True)]
    psi_1 = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    P = np.linalg.inv(covs[1])
    value = prior.links[0](psi_1)
    log_data = -0.5 * np.einsum("ni,ij,nj->n", value, gamma, value) + value @ beta
    weight = np.zeros(len(psi_1))
    for part in np.array_split(np.arange(len(psi_1)), 50):
        # Exponent of N(psi_1; center, Sigma_2), as one matrix product.
        u = psi_1[part]
        cross = u @ P @ center.T - 0.5 * np.einsum("ni,ij,nj->n", center, P, center) + log_prior
        weight[part] = np.exp(cross - 0.5 * np.einsum("ni,ij,nj->n", u, P, u)[:, None]).sum(axis=1)
    weight *= np.exp(log_data - log_data.max())
    picked = rng.choice(len(psi_1), size, p=weight / weight.sum())
    cell = np.array([axis[1] - axis[0] for axis in axes])
    return prior.links[0](psi_1[picked] + cell * rng.uniform(-0.5, 0.5, (size, 2)))


def mlp_case():
    rng = np.random.default_rng(11)
    links = [
        MLPLink([rng.uniform(-1, 1, (8, 2)), rng.uniform(-1, 1, (2, 8))], [rng.uniform(-1, 1, 8), np.zeros(2)])
        for _ in range(2)
    ]
    prior = DiffusionPrior(links, [random_cov(rng, 2, 0.2) for _ in range(3)])
    return prior, np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([1.5, -0.5]), rng


def test_an_mlp_chain_gives_the_grid_posterior():
    prior, gamma, beta, rng = mlp_case()
    truth = grid_draws(prior, gamma, beta, rng, 3_000)
    found = slice_sample(prior, gamma, beta, rng, 4, thin=40, burn_in=100, chains=400)
    assert energy_score(found.values.reshape(-1, 2), truth, rng).z_score < 4.5
    unaware = slice_sample(prior, 0 * gamma, 0 * beta, rng, 5, thin=40, burn_in=0, chains=400)
    assert energy_score(unaware.values.reshape(-1, 2), truth, rng).z_score > 6


def test_without_evidence_it_draws_the_prior():
    prior, gamma, beta, rng = mlp_case()
    found = slice_sample(prior, 0 * gamma, 0 * beta, rng, 4, thin=30, burn_in=0, chains=500)
    psi = rng.standard_normal((4_000, 2)) @ np.linalg.cholesky(prior.covariances[2]).T
    psi = prior.links[1](psi) + rng.standard_normal((4_000, 2)) @ np.linalg.cholesky(prior.covariances[1]).T
    assert energy_score(found.values.reshape(-1, 2), prior.links[0](psi), rng).z_score < 4.5


def test_effective_draws_of_an_autoregression_are_known():
    """AR(1) with coefficient r: a share (1 - r) / (1 + r) of the draws, here within a tenth; R-hat near 1."""
    rng = np.random.default_rng(0)
    for r in (0.0, 0.5, 0.9):
        values = np.empty((4_000, 8))
        values[0] = rng.standard_normal(8)
        for t in range(1, len(values)):
            values[t] = r * values[t - 1] + np.sqrt(1 - r**2) * rng.standard_normal(8)
        assert effective_draws(values) / values.size == pytest.approx((1 - r) / (1 + r), rel=0.1)
        assert split_r_hat(values) < 1.02


def test_diagnostics_see_chains_apart_and_chains_that_drift():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((200, 4, 3))
    values[:, 0, 1] += 3.0
    values[:, :, 2] += np.linspace(0, 3, 200)[:, None]
    r_hat, draws = split_r_hat(values), effective_draws(values)
    assert r_hat.shape == draws.shape == (3,)
    assert r_hat[0] < 1.03
    assert (r_hat[1:] > 1.2).all()
    assert draws[0] > 500
    assert (draws[1:] < 50).all()
    np.testing.assert_array_equal(split_r_hat(np.ones((8, 2))), 1.0)


def test_refusals_name_the_argument():
    prior, gamma, beta, rng = mlp_case()
    with pytest.raises(ValueError, match=r"gamma must have shape \(2, 2\)"):
        slice_sample(prior, gamma[0], beta, rng, 10)
    with pytest.raises(ValueError, match=r"beta must have one row an action, \(K, 2\), at branch 1"):
        slice_sample(prior, gamma, beta, rng, 10, branch=1)
    with pytest.raises(ValueError, match="beta must be finite"):
        slice_sample(prior, gamma, beta * np.inf, rng, 10)
    for name in ("thin", "chains"):
        with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
            slice_sample(prior, gamma, beta, rng, 10, **{name: 0})
    with pytest.raises(ValueError, match=r"branch must be an integer in 0\.\.2"):
        slice_sample(prior, gamma, beta, rng, 10, branch=3)
