"""Denoiser links against complex steps, the textbook's posterior mean, and dense Gaussian conditionals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dts_gym
from dts_gym import make_agent
from dts_gym.posteriors.chain.surrogates import default_surrogate, statistical_surrogates
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior, prior_from_state
from dts_gym.priors.denoisers import DenoiserLink, DenoiserNetwork, denoiser_from_state, in_single_precision
from dts_gym.priors.links import AffineLink
from dts_gym.priors.random_priors import random_mlp_prior
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward


def random_network(d, H=7, B=2, L=3, seed=0, loudness=1.0):
    rng = np.random.default_rng(seed)
    shapes = [(H, d), (B, H, H), (B, H, H), (d, H), (d,), (L, B + 1, H)]
    arrays = [rng.standard_normal(shape) / np.sqrt(shape[-1]) for shape in shapes]
    arrays[3] *= loudness
    arrays[4] *= loudness
    return DenoiserNetwork(*arrays)


def by_hand(network, step, z):
    """The velocity at one point, in complex numbers."""
    h = network.first @ z.astype(complex) + network.times[step - 1, 0]
    for k in range(len(network.inner)):
        u = network.inner[k] @ h + network.times[step - 1, k + 1]
        h = h + network.outer[k] @ (u / (1 + np.exp(-u)))
    return network.last @ h + network.last_bias


def mean_by_hand(link, z):
    """The textbook's mean of ``q(z_{l-1} | z_l, z_0)`` at the ``z_0`` that the velocity means."""
    bar, before = link.alpha_bar, link.alpha_bar_before
    clean = np.sqrt(bar) * z - np.sqrt(1 - bar) * by_hand(link.network, link.step, z)
    beta = 1 - bar / before
    mean = np.sqrt(before) * beta / (1 - bar) * clean + np.sqrt(bar / before) * (1 - before) / (1 - bar) * z
    mean = mean if link.scale is None else link.scale @ mean
    return mean if link.offset is None else mean + link.offset


@settings(deadline=None, max_examples=40)
@given(
    d=st.integers(1, 4),
    blocks=st.integers(0, 3),
    lead=st.lists(st.integers(0, 3), max_size=3),
    first=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_value_and_jacobian_are_those_of_the_reverse_step_in_any_batch(d, blocks, lead, first, seed):
    rng = np.random.default_rng(seed)
    units = {"scale": rng.standard_normal((d, d)), "offset": rng.standard_normal(d)} if first else {}
    before = 1.0 if first else 0.9
    link = DenoiserLink(random_network(d, B=blocks, seed=seed), 2, 0.6, before, **units)
    psi = rng.standard_normal((*lead, d))
    value, jacobian = link.value_and_jacobian(psi)
    np.testing.assert_allclose(link(psi), value, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(link.jacobian(psi), jacobian)
    assert jacobian.shape == (*psi.shape, d)
    for index in np.ndindex(*lead):
        np.testing.assert_allclose(value[index], mean_by_hand(link, psi[index]).real, rtol=1e-10, atol=1e-11)
        for j in range(d):
            bent = mean_by_hand(link, psi[index] + 1e-30j * np.eye(d)[j])
            np.testing.assert_allclose(jacobian[index][:, j], bent.imag / 1e-30, rtol=1e-9, atol=1e-10)


def test_jacobian_is_the_slope_between_neighbours():
    link = DenoiserLink(random_network(3), 1, 0.7, 0.9)
    psi = np.random.default_rng(5).standard_normal((20, 3))
    for j in range(3):
        step = 1e-6 * np.eye(3)[j]
        np.testing.assert_allclose(link.jacobian(psi)[:, :, j], (link(psi + step) - link(psi - step)) / 2e-6, atol=1e-7)


def test_a_large_batch_is_its_parts_and_far_points_stay_finite():
    link = DenoiserLink(random_network(2), 1, 0.7, 0.9)
    psi = np.random.default_rng(0).standard_normal((1500, 2))
    np.testing.assert_allclose(link(psi), np.vstack([link(psi[:700]), link(psi[700:])]), rtol=1e-12)
    far = np.array([[1e8, -1e8], [-1e150, 1e150]])
    assert np.isfinite(link(far)).all()
    assert np.isfinite(link.jacobian(far)).all()


@pytest.mark.parametrize("depth", [1, 2, 7, 40])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_chain_of_normal_data_has_their_moments_at_any_depth(depth, schedule):
    """A silent network is the best denoiser of N(0, I), ``Cov(z_0 | z_l) = (1 - abar_l) I``; moments by recursion."""
    d, bars = 2, noise_schedule(depth, schedule)
    R, m = np.array([[2.0, 0.0], [0.5, 0.3]]), np.array([1.0, -2.0])
    silent = random_network(d, L=depth, loudness=0.0)
    links, covs = reverse_chain(silent, bars, (1 - bars)[:, None, None] * np.eye(d), scale=R, offset=m)
    mean, cov = np.zeros(d), covs[-1]
    for link, Sigma in zip(links[::-1], covs[-2::-1], strict=True):
        A = link.jacobian(mean)
        mean, cov = link(mean), A @ cov @ A.T + Sigma
    np.testing.assert_allclose(mean, m, atol=1e-12)
    np.testing.assert_allclose(cov, R @ R.T, atol=1e-12)
    prior = DiffusionPrior(links, covs, depth)
    draws = prior.sample(np.random.default_rng(0), 20_000)
    z = (draws.mean(axis=0) - m) / np.sqrt(np.diagonal(R @ R.T) / len(draws))
    assert np.abs(z).max() < 4.5
    ratio = draws.var(axis=0) / np.diagonal(R @ R.T)
    assert (np.abs(ratio - 1) / np.sqrt(2 / len(draws))).max() < 4.5


def test_without_what_is_unknown_the_covariances_are_the_textbooks():
    bars = np.array([0.9, 0.5, 0.01])
    _, covs = reverse_chain(random_network(2), bars)
    np.testing.assert_array_equal(covs[0], np.zeros((2, 2)))
    np.testing.assert_allclose(covs[1], (1 - 0.5 / 0.9) * 0.1 / 0.5 * np.eye(2))
    np.testing.assert_allclose(covs[2], (1 - 0.01 / 0.5) * 0.5 / 0.99 * np.eye(2))
    np.testing.assert_array_equal(covs[3], np.eye(2))


def test_predictors_are_the_conditional_means_of_the_forward_process():
    """Against the joint normal distribution of ``z_{l-1}`` and ``z_l``, built from ``z_0`` and independent noises."""
    rng = np.random.default_rng(3)
    d, bars = 2, np.array([0.8, 0.4, 0.02])
    root, m0, R, shift = *rng.standard_normal((1, d, d)), *rng.standard_normal((1, d)), np.diag([2.0, 3.0]), np.ones(d)
    C0 = root @ root.T
    links, covs = reverse_chain(random_network(d), bars, scale=R, offset=shift, data_mean=m0, data_cov=C0)
    surrogates = statistical_surrogates(DiffusionPrior(links, covs), np.random.default_rng(0))
    cov, mean, before = C0, m0, 1.0
    for link, (A, c), bar in zip(links, surrogates, bars, strict=True):
        alpha = bar / before
        above = alpha * cov + (1 - alpha) * np.eye(d)
        slope = np.sqrt(alpha) * cov @ np.linalg.inv(above)
        offset = mean - slope @ (np.sqrt(alpha) * mean)
        if link.step == 1:
            slope, offset = R @ slope, R @ offset + shift
        np.testing.assert_allclose(A, slope, atol=1e-12)
        np.testing.assert_allclose(c, offset, atol=1e-12)
        cov, mean, before = above, np.sqrt(alpha) * mean, bar


def test_known_predictors_agree_with_regression_on_the_chain_where_it_is_normal():
    bars = noise_schedule(3)
    links, covs = reverse_chain(random_network(2, loudness=0.0), bars, (1 - bars)[:, None, None] * np.eye(2))
    known = statistical_surrogates(DiffusionPrior(links, covs), np.random.default_rng(0))
    for link in links:
        link.predictor = None
    for (A, c), (B, e) in zip(known, statistical_surrogates(DiffusionPrior(links, covs), np.random.default_rng(0)),
                              strict=True):  # fmt: skip
        np.testing.assert_allclose(A, B, atol=1e-10)  # the links are affine, so least squares has no error
        np.testing.assert_allclose(c, e, atol=1e-10)


def test_agents_take_the_surrogate_that_serves_the_links():
    links, covs = reverse_chain(random_network(2), noise_schedule(3))
    prior = DiffusionPrior(links, covs)
    assert default_surrogate(prior) == "statistical"
    assert default_surrogate(random_mlp_prior(2, 2)) == "jacobian"
    for chain in (prior, random_mlp_prior(2, 2)):
        problem = BanditProblem(3, 2, chain, GaussianReward(1.0))
        assert dts_gym.make_agent("dTS", problem, seed=0)._approximation.surrogate == default_surrogate(chain)
    problem = BanditProblem(3, 2, prior, GaussianReward(1.0))
    assert dts_gym.make_agent("dTS", problem, seed=0, surrogate="jacobian")._approximation.surrogate == "jacobian"


@pytest.mark.parametrize("branch", [0, 1, 3])
def test_agents_learn_with_a_last_step_without_noise(branch):
    """``Sigma_1 = 0``: theta is a function of psi_1."""
    links, covs = reverse_chain(random_network(2), noise_schedule(3))
    problem = BanditProblem(3, 2, DiffusionPrior(links, covs, branch), GaussianReward(0.1))
    agent = dts_gym.make_agent("dTS", problem, seed=0)
    for _ in range(4):
        x = np.ones(2)
        action = agent.act(x)
        agent.update(x, action, float(action))
    assert np.isfinite(agent.sample_parameters()).all()
    assert 0 < agent.diagnostics["effective_sample_size"] <= 1


def test_a_saved_prior_is_equal_and_holds_shared_arrays_once(tmp_path):
    links, covs = reverse_chain(random_network(2), noise_schedule(3), scale=2 * np.eye(2), offset=np.ones(2))
    prior = DiffusionPrior(links, covs, 1)
    saved, arrays = prior.state()
    assert sum(name.endswith("network.inner") for name in arrays) == 1
    again = prior_from_state(saved, {name: array.copy() for name, array in arrays.items()})
    assert isinstance(again, DiffusionPrior)
    assert len({id(link.network.inner) for link in again.links}) == 1
    assert again.state()[1].keys() == arrays.keys()
    np.testing.assert_array_equal(again.sample(np.random.default_rng(0), 5), prior.sample(np.random.default_rng(0), 5))
    for link, other in zip(prior.links, again.links, strict=True):
        np.testing.assert_array_equal(link.affine_predictor()[0], other.affine_predictor()[0])
    agent = dts_gym.make_agent("dTS", BanditProblem(3, 2, prior, GaussianReward(1.0)), seed=0)
    agent.update(np.ones(2), 1, 0.5)
    agent.save(tmp_path / "agent.npz")
    loaded = type(agent).load(tmp_path / "agent.npz")
    np.testing.assert_array_equal(loaded.sample_parameters(), agent.sample_parameters())


def test_one_link_without_predictor_and_units_is_restored():
    link = DenoiserLink(random_network(2), 2, 0.5, 0.9)
    again = denoiser_from_state(*link.state())
    assert again.affine_predictor() is None
    np.testing.assert_array_equal(again(np.ones(2)), link(np.ones(2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenoiserLink(random_network(2), 4, 0.5, 0.9), "step must be an integer in 1..3, got 4"),
        (lambda: DenoiserLink(random_network(2), 1, 0.9, 0.5), "alpha_bar must lie between 0 and"),
        (lambda: DenoiserLink(random_network(2), 1, 0.5, 0.9, scale=np.eye(3)), r"scale must have shape \(2, 2\)"),
        (lambda: DenoiserLink(random_network(2)._replace(last=np.ones((3, 7))), 1, 0.5, 0.9), "last of network"),
        (lambda: DenoiserLink(random_network(2)._replace(first=np.ones(7)), 1, 0.5, 0.9), "first of network"),
        (lambda: DenoiserLink(random_network(2)._replace(last_bias=np.array([1, np.nan])), 1, 0.5, 0.9), "finite"),
        (lambda: reverse_chain(random_network(2), np.array([0.5, 0.1])), "alpha_bars must have shape"),
        (lambda: noise_schedule(0), "depth must be an integer >= 1, got 0"),
        (lambda: noise_schedule(3, "steep"), "schedule must be one of"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("depth", [1, 2, 40, 100])
def test_schedules_fall_from_near_one_to_near_nothing(depth, schedule):
    bars = noise_schedule(depth, schedule)
    assert (np.diff(np.append(1.0, bars)) < 0).all()
    assert 0 < bars[-1] < 0.05
    if schedule == "constant" and depth == 100:
        np.testing.assert_allclose(bars, 0.97 ** np.arange(1, 101))


@pytest.mark.parametrize("branch", [0, 2, 3])
def test_a_silent_network_has_the_closed_form(branch):
    """Against the dense posterior of the chain's matrices; and no particle is drawn."""
    d, bars = 2, noise_schedule(3)
    silent = random_network(d, loudness=0.0)
    links, covs = reverse_chain(silent, bars, (1 - bars)[:, None, None] * np.eye(d), scale=2 * np.eye(d), offset=[1, 2])
    prior = DiffusionPrior(links, covs, branch)
    weights, offsets = [link.jacobian(np.zeros(d)) for link in links], [link(np.zeros(d)) for link in links]
    truth = JointPosterior(LinearDiffusionPrior(weights, covs, offsets, branch), 4, 0.5)
    agent = make_agent("dTS", BanditProblem(4, d, prior, GaussianReward(0.5)), seed=0)
    rng = np.random.default_rng(0)
    for _ in range(12):
        x, a, y = rng.uniform(-1, 1, d), int(rng.integers(3)), float(rng.standard_normal())
        truth.update(x, a, y)
        agent.update(x, a, y)
    for found, expected in zip(agent._posterior.moments(), truth.moments(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert "effective_sample_size" not in agent.diagnostics  # no particles: the closed form


def test_a_bias_alone_is_affine_and_a_last_layer_is_not():
    network = random_network(2)
    assert not DenoiserLink(network, 1, 0.5, 1.0).affine
    biased = DenoiserLink(network._replace(last=np.zeros((2, 7))), 1, 0.5, 1.0)
    assert biased.affine
    z = np.random.default_rng(0).standard_normal((5, 2))
    np.testing.assert_allclose(biased(z), z @ biased.jacobian(np.zeros(2)).T + biased(np.zeros(2)), atol=1e-12)


def test_filters_evaluate_networks_in_single_precision_and_far_points_in_double():
    link = DenoiserLink(random_network(3, B=2, seed=1), 2, 0.6, 0.9)
    other = AffineLink(np.eye(3))
    single, twin, same = in_single_precision([link, DenoiserLink(link.network, 1, 0.9, 1.0), other])
    assert same is other
    assert single._layers is twin._layers  # one copy of the network for all its links
    psi = np.random.default_rng(0).standard_normal((200, 3))
    for of in (lambda each: each(psi), lambda each: each.jacobian(psi)):
        off = np.abs(of(single) - of(link))
        assert of(single).dtype == np.float64
        assert 1e-10 < off.max() < 2e-5
    far = np.array([[1e40, -1e40, 1.0], [-1e150, 1e150, 0.0]])
    assert (single(far) == link(far)).all()
    assert (single.jacobian(far) == link.jacobian(far)).all()
    assert single.state()[0] == link.state()[0]
    assert single.state()[1]["network.first"].dtype == np.float64
