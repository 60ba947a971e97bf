"""Priors of any links: draws against the chain unrolled by hand, branches, saving, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior, prior_from_state
from dts_gym.priors.links import AffineLink, Link, MLPLink
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior

# Some 100 z-scores in this file: a false alarm in 1500 changes of its seeds.
LIMIT = 4.5


class SizelessLink(Link):
    """A link that forgot its dim."""

    def __call__(self, psi):
        return psi

    def jacobian(self, psi):
        return np.broadcast_to(np.eye(psi.shape[-1]), (*psi.shape, psi.shape[-1]))


def mlp_chain(branch=0):
    rng = np.random.default_rng(1)
    links = [
        MLPLink(
            [rng.uniform(-1, 1, (6, 2)), rng.uniform(-1, 1, (2, 6))], [rng.standard_normal(n) for n in (6, 2)], kind
        )
        for kind in ("relu", "silu", "tanh")
    ]
    covs = []
    for _ in range(4):
        A = rng.standard_normal((2, 2))
        covs.append(A @ A.T + 0.1 * np.eye(2))
    return DiffusionPrior(links, covs, branch)


def unrolled(prior, rng):
    """One draw of theta, level by level, with NumPy's own multivariate normal and layers written out."""
    psi = rng.multivariate_normal(np.zeros(prior.dim), prior.covariances[-1])
    for link, cov in zip(prior.links[::-1], prior.covariances[-2::-1], strict=True):
        act = {"relu": lambda z: z * (z > 0), "silu": lambda z: z / (1 + np.exp(-z)), "tanh": np.tanh}[link.activation]
        hidden = act(link.weights[0].dot(psi) + link.biases[0])
        psi = rng.multivariate_normal(link.weights[1].dot(hidden) + link.biases[1], cov)
    return psi


def test_draws_have_the_moments_of_the_chain_unrolled_by_hand():
    prior, n = mlp_chain(branch=3), 6000
    truth = np.array([unrolled(prior, rng) for rng in [np.random.default_rng(3)] for _ in range(n)])
    draws = prior.sample(np.random.default_rng(4), n)  # independent chains at branch L
    for features in (lambda v: v, lambda v: v**2, lambda v: v[:, :1] * v[:, 1:], np.abs, lambda v: 1.0 * (v > 1)):
        ours, theirs = features(draws), features(truth)
        z = (ours.mean(axis=0) - theirs.mean(axis=0)) / np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / n)
        assert np.abs(z).max() < LIMIT


@pytest.mark.parametrize("branch", range(4))
def test_levels_above_the_branch_are_one_for_all_actions(branch):
    prior, K = mlp_chain(branch), 5
    levels = prior.sample_chain(np.random.default_rng(0), K)
    for ell, psi in enumerate(levels):
        assert psi.shape == (K if ell <= branch else 1, 2)
        assert len(np.unique(psi[:, 0])) == len(psi)
    np.testing.assert_array_equal(levels[0], prior.sample(np.random.default_rng(0), K))


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_noise_below_shared_levels_is_each_actions_own(branch):
    # theta - f_1(psi_1) ~ N(0, Sigma_1), independent over actions and levels: here whitened.
    prior, K = mlp_chain(branch), 4000
    levels = prior.sample_chain(np.random.default_rng(7), K)
    for ell in range(branch + 1):
        noise = levels[ell] - prior.links[ell](levels[ell + 1])
        white = np.linalg.solve(np.linalg.cholesky(prior.covariances[ell]), noise.T).T
        assert np.abs(white.mean(axis=0)).max() < LIMIT / np.sqrt(K)
        assert np.abs(white.var(axis=0) - 1).max() < LIMIT * np.sqrt(2 / K)
        assert abs((white[:, 0] * white[:, 1]).mean()) < LIMIT / np.sqrt(K)


def test_a_chain_of_affine_links_draws_what_the_linear_prior_draws():
    linear = random_linear_prior(3, 4, branch=2)
    general = DiffusionPrior(linear.links, linear.covariances, 2)
    for mine, its in zip(
        general.sample_chain(np.random.default_rng(0), 6), linear.sample_chain(np.random.default_rng(0), 6), strict=True
    ):
        np.testing.assert_array_equal(mine, its)


@settings(deadline=None, max_examples=25)
@given(
    dim=st.integers(1, 6),
    depth=st.integers(1, 4),
    activation=st.sampled_from(["relu", "tanh", "silu"]),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_a_saved_prior_comes_back(dim, depth, activation, seed, data):
    branch = data.draw(st.integers(0, depth))
    prior = random_mlp_prior(dim, depth, activation=activation, seed=seed, branch=branch)
    saved, arrays = prior.state()
    again = prior_from_state(saved, arrays)
    assert (type(again), again.branch, again.depth, again.dim) == (DiffusionPrior, branch, depth, dim)
    np.testing.assert_array_equal(again.sample(np.random.default_rng(0), 3), prior.sample(np.random.default_rng(0), 3))
    assert all(isinstance(array, np.ndarray) for array in arrays.values())


@pytest.mark.parametrize(
    "prior",
    [
        random_linear_prior(2, 3, branch=1),
        DiffusionPrior(
            [AffineLink(np.eye(2), [1.0, 0.0]), MLPLink([np.ones((3, 2)), np.ones((2, 3))])], [np.eye(2)] * 3
        ),
        DiffusionPrior([], [2 * np.eye(2)]),
    ],
    ids=["linear", "mixed", "no links"],
)
def test_other_priors_come_back_too(prior):
    again = prior_from_state(*prior.state())
    assert type(again) is type(prior)
    np.testing.assert_array_equal(again.sample(np.random.default_rng(0), 3), prior.sample(np.random.default_rng(0), 3))


def test_another_branch_is_the_same_chain():
    prior = mlp_chain()
    other = prior.with_branch(3)
    assert (prior.branch, other.branch, other.links) == (0, 3, prior.links)
    np.testing.assert_array_equal(prior.sample(np.random.default_rng(0), 1), other.sample(np.random.default_rng(0), 1))


@pytest.mark.parametrize(("dim", "hidden"), [(1, 20), (5, 20), (7, 21), (20, 60)])
def test_random_networks_have_the_papers_sizes(dim, hidden):
    prior = random_mlp_prior(dim, 3)
    assert prior.depth == 3
    for link in prior.links:
        assert [W.shape for W in link.weights] == [(hidden, dim), (dim, hidden)]
        assert not any(b.any() for b in link.biases)
    for cov in prior.covariances:
        np.testing.assert_array_equal(cov, np.eye(dim))
    weights = np.concatenate([W.ravel() for link in prior.links for W in link.weights])
    assert np.abs(weights).max() <= 1
    assert abs(weights.mean()) < LIMIT / np.sqrt(3 * len(weights))
    assert abs((weights**2).mean() - 1 / 3) < LIMIT * np.sqrt(4 / 45 / len(weights))


def test_random_networks_depend_on_the_seed_alone():
    first, same, other = (random_mlp_prior(3, 2, hidden=4, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.links[1].weights[0], same.links[1].weights[0])
    assert (first.links[1].weights[0] != other.links[1].weights[0]).all()
    assert (first.links[0].weights[0] != first.links[1].weights[0]).all()


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (
            lambda: DiffusionPrior([AffineLink(np.eye(2))], [np.eye(2)]),
            "covariances must hold one more .* links: 2, got 1",
        ),
        (lambda: DiffusionPrior([AffineLink(np.eye(2)), AffineLink(np.eye(3))], [np.eye(2)] * 3), r"links\[1\].*dim 3"),
        (lambda: DiffusionPrior([np.eye(2)], [np.eye(2)] * 2), r"links\[0\] must be a dts_gym Link"),
        (lambda: DiffusionPrior([SizelessLink()], [np.eye(2)] * 2), r"links\[0\] must have set its dim when made"),
        (
            lambda: DiffusionPrior([AffineLink(np.eye(2))], [np.eye(2), -np.eye(2)]),
            r"covariances\[1\] .* semi-definite",
        ),
        (lambda: DiffusionPrior([AffineLink(np.eye(2))], [np.eye(3), np.eye(2)]), r"covariances\[0\] must have shape"),
        (lambda: DiffusionPrior([], [1.0]), r"covariances\[0\] must have shape \(d, d\)"),
        (
            lambda: DiffusionPrior([AffineLink(np.eye(2))], [np.eye(2)] * 2, branch=2),
            "branch must be an integer in 0..1",
        ),
        (lambda: random_mlp_prior(0, 1), "dim must be an integer >= 1"),
        (lambda: random_mlp_prior(2, 1, hidden=0), "hidden must be an integer >= 1"),
        (lambda: random_mlp_prior(2, 1, activation="gelu"), "activation must be one of"),
        (lambda: prior_from_state({"kind": "spline"}, {}), "kind of the saved prior must be .* got 'spline'"),
    ],
)
def test_bad_priors_are_refused(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_a_link_that_leaves_the_numbers_is_named_when_drawing():
    prior = DiffusionPrior(
        [AffineLink(np.eye(1)), AffineLink(np.array([[1e308]]))], [np.eye(1), np.eye(1), 1e4 * np.eye(1)]
    )
    with pytest.raises(ValueError, match=r"links\[1\] must return finite values, got \[-?inf\]"):
        prior.sample(np.random.default_rng(0), 2)


def test_a_link_of_ones_own_draws_and_says_that_it_cannot_be_saved():
    class Sine(Link):
        dim = 1

        def __call__(self, psi):
            return np.sin(psi)

        def jacobian(self, psi):
            return np.cos(psi)[..., None]

    prior = DiffusionPrior([Sine()], [np.eye(1), np.eye(1)])
    assert prior.sample(np.random.default_rng(0), 3).shape == (3, 1)
    with pytest.raises(ValueError, match="got a Sine"):
        prior.state()


def test_linear_priors_stay_linear():
    prior = random_linear_prior(2, 2)
    assert isinstance(prior_from_state(*prior.state()), LinearDiffusionPrior)
