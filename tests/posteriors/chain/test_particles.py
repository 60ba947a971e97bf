"""The twisted filter against dense Gaussian posteriors, a grid, the prior and slice sampling."""

import numpy as np
import pytest

from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors.chain.chain import as_chain
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.parameter_draws import sample_thetas
from dts_gym.posteriors.chain.particles import default_defensive, pick, sample_actions, sample_shared
from dts_gym.posteriors.chain.resampling import resample
from dts_gym.posteriors.chain.surrogates import deck_surrogates, statistical_surrogates
from dts_gym.posteriors.chain.tangents import jacobian_surrogates
from dts_gym.posteriors.evidence import Evidence, through_noise
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.links import Link, MLPLink
from dts_gym.priors.random_priors import random_mlp_prior
from truth import dense_posterior, random_chain

NAMES = ["jacobian", "statistical", "deck"]


def linear_prior(rng, depth, branch, d=2, singular=False):
    prior = random_chain(rng, depth, branch, d, least=0.2)
    if not singular:
        return prior
    covs = [np.diag([1.0, 0.0]), *prior.covariances[1:-1], np.diag([0.0, 1.0])]
    return LinearDiffusionPrior(prior.weights, covs, prior.offsets, branch)


def random_evidence(rng, K, d=2, observations=3):
    """On theta, one action a row, and the rewards of noise 1 that say so; the last action's contexts are zero."""
    X, y = rng.standard_normal((K, observations, d)), rng.standard_normal((K, observations)) + 1.0
    X[-1] = 0
    data = X.reshape(-1, d), np.repeat(np.arange(K), observations), y.ravel()
    return Evidence(np.einsum("kni,knj->kij", X, X), np.einsum("kni,kn->ki", X, y)), data


def message_of(prior, evidence, branch):
    message = through_noise(*evidence, prior.covariances[0])
    return message if branch else Evidence(message.G.sum(axis=0), message.h.sum(axis=0))


def surrogates_of(name, prior, message, branch, rng):
    if name == "deck":
        return deck_surrogates(prior)
    if name == "statistical":
        return statistical_surrogates(prior, rng)
    return jacobian_surrogates(prior, message, branch).surrogates


def moment_scores(draws, mean, cov):
    """z-scores of means and second moments of draws (n, D) with known moments, each with its own standard error."""
    centred = draws - mean
    products = centred[:, :, None] * centred[:, None, :]
    scores = []
    for values, truth in ((centred, 0 * mean), (products, cov)):
        error = values.std(axis=0) / np.sqrt(len(draws))
        moves = error > 1e-9
        np.testing.assert_allclose(values.mean(axis=0)[~moves], truth[~moves], atol=1e-8)
        scores.append(((values.mean(axis=0) - truth)[moves] / error[moves]).ravel())
    return np.abs(np.concatenate(scores))


@pytest.mark.parametrize("singular", [False, True])
@pytest.mark.parametrize("name", ["jacobian", "statistical"])
@pytest.mark.parametrize(("depth", "branch"), [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (3, 3)])
def test_one_particle_is_exact_for_linear_chains(depth, branch, name, singular):
    """40 000 draws against the dense posterior of all actions; |z| < 4.5. Weights of eight particles are equal."""
    rng = np.random.default_rng([depth, branch, NAMES.index(name), singular])
    prior = linear_prior(rng, depth, branch, singular=singular)
    evidence, data = random_evidence(rng, 3)
    message = message_of(prior, evidence, branch)
    surrogates = surrogates_of(name, prior, message, branch, rng)
    theta, size = sample_thetas(prior, surrogates, evidence, branch, 1, rng, size=40_000)
    assert theta.shape == (40_000, 3, 2)
    np.testing.assert_allclose(size, 1.0, atol=1e-10)
    mean, cov = dense_posterior(prior, 3, data, 1.0)
    assert moment_scores(theta.reshape(-1, 6), mean, cov).max() < 4.5

    messages = upward_messages(prior, surrogates, message, branch)
    filters = []
    if branch < depth:
        filters.append(sample_shared(prior, messages, branch, 8, rng, size=5))
    if branch > 0:
        parents = pick(filters[0], rng) if filters else None
        filters.append(sample_actions(prior, messages, branch, parents, 8, rng, size=5))
    for particles in filters:
        np.testing.assert_allclose(particles.log_weights, -np.log(8), atol=1e-10)


def test_exploration_scales_the_spread_of_a_linear_posterior_and_keeps_its_mean():
    rng = np.random.default_rng(1)
    for branch in (0, 1, 2):
        prior = linear_prior(rng, 2, branch)
        evidence, data = random_evidence(rng, 3)
        surrogates = statistical_surrogates(prior, rng)
        theta, _ = sample_thetas(prior, surrogates, evidence, branch, 1, rng, size=40_000, exploration=0.3)
        mean, cov = dense_posterior(prior, 3, data, 1.0)
        assert moment_scores(theta.reshape(-1, 6), mean, 0.09 * cov).max() < 4.5


@pytest.mark.parametrize("defensive", [0.0, 0.25])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("branch", [0, 1, 2])
def test_without_evidence_it_is_the_prior(branch, name, defensive):
    """Two samples of 5 000, of the filter and of the prior: means and second moments, |z| < 4.5."""
    rng = np.random.default_rng([branch, NAMES.index(name), int(4 * defensive)])
    prior = random_mlp_prior(2, 2, hidden=6, seed=3, branch=branch)
    evidence = Evidence(np.zeros((3, 2, 2)), np.zeros((3, 2)))
    message = message_of(prior, evidence, branch)
    surrogates = surrogates_of(name, prior, message, branch, rng)
    theta, size = sample_thetas(prior, surrogates, evidence, branch, 4, rng, size=5_000, defensive=defensive)
    np.testing.assert_allclose(size, 1.0, atol=1e-12)
    drawn = np.stack([prior.sample(rng, 3) for _ in range(5_000)])
    features = [np.concatenate([v, (v[:, :, None] * v[:, None, :]).reshape(len(v), -1)], axis=1) for v in
                (theta.reshape(-1, 6), drawn.reshape(-1, 6))]  # fmt: skip
    error = np.sqrt((features[0].var(axis=0) + features[1].var(axis=0)) / 5_000)
    assert np.abs((features[0].mean(axis=0) - features[1].mean(axis=0)) / error).max() < 4.5


class ToSide(Link):
    """``(|psi_1|, psi_2 + tanh psi_1)``: two modes."""

    dim = 2

    def __call__(self, psi):
        return np.stack([np.abs(psi[..., 0]), psi[..., 1] + np.tanh(psi[..., 0])], axis=-1)

    def jacobian(self, psi):
        slope = np.zeros((*psi.shape, 2))
        slope[..., 0, 0] = np.sign(psi[..., 0])
        slope[..., 1, 0] = 1 / np.cosh(psi[..., 0]) ** 2
        slope[..., 1, 1] = 1.0
        return slope


def grid_draws(prior, message, rng, size):
    """Draws of ``f_1(psi_1)`` for d = 2, L = 2 and unit covariances: both latents on grids, psi_2 summed out."""
    axis = np.linspace(-5, 5, 101)
    psi_2 = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    psi_2 = psi_2[(psi_2**2).sum(axis=1) < 25]
    center, mass = prior.links[1](psi_2), np.exp(-0.5 * (psi_2**2).sum(axis=1))
    axes = [np.linspace(a - 4.5, b + 4.5, 181) for a, b in zip(center.min(axis=0), center.max(axis=0), strict=True)]
    # The density of psi_1 is a sum of products over the two coordinates: one matrix product.
    factors = [np.exp(-0.5 * (points[:, None] - center[:, i]) ** 2) for i, points in enumerate(axes)]
    density = (factors[0] * mass) @ factors[1].T
    psi_1 = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    value = prior.links[0](psi_1)
    log_data = -0.5 * np.einsum("ni,ij,nj->n", value, message.G, value) + value @ message.h
    weight = density.ravel() * np.exp(log_data - log_data.max())
    picked = rng.choice(len(psi_1), size, p=weight / weight.sum())
    cell = np.array([points[1] - points[0] for points in axes])
    return prior.links[0](psi_1[picked] + cell * rng.uniform(-0.5, 0.5, (size, 2)))


def small_case(activation="relu"):
    rng = np.random.default_rng(7)
    links = [
        MLPLink(
            [rng.uniform(-1, 1, (6, 2)), rng.uniform(-1, 1, (2, 6))],
            [rng.uniform(-1, 1, 6), rng.uniform(-1, 1, 2)],
            activation,
        )
        for _ in range(2)
    ]
    return DiffusionPrior(links, [np.eye(2)] * 3), Evidence(np.array([[1.5, 0.4], [0.4, 1.0]]), np.array([2.0, -1.0]))


@pytest.mark.parametrize("defensive", [0.0, 0.1])
@pytest.mark.parametrize("name", ["jacobian", "statistical"])
def test_32_particles_agree_with_the_grid(name, defensive):
    prior, message = small_case()
    rng = np.random.default_rng([NAMES.index(name), int(10 * defensive), 10])
    messages = upward_messages(prior, surrogates_of(name, prior, message, 0, rng), message)
    particles = sample_shared(prior, messages, 0, 32, rng, size=1_500, defensive=defensive)
    score = energy_score(pick(particles, rng), grid_draws(prior, message, rng, 3_000), rng)
    assert score.z_score < 4.5
    share = particles.effective_sample_size
    assert share.shape == (1_500,)
    assert (share >= 1 / 32 - 1e-12).all()
    assert (share <= 1 + 1e-12).all()
    np.testing.assert_allclose(np.exp(particles.log_weights).sum(axis=-1), 1.0)
    np.testing.assert_allclose(prior.links[0](particles.psi), particles.value)


@pytest.mark.parametrize("name", NAMES)
def test_the_filter_weighs_without_bias(name):
    """Weighted means of ``f``, f f' and a mode's indicator with 4 000 particles a filter, against the grid; |z| < 4.5.

    Two modes, of which the tangents see one.
    """
    prior = DiffusionPrior([ToSide(), ToSide()], [np.eye(2)] * 3)
    message = Evidence(np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([3.0, 1.0]))
    rng = np.random.default_rng(NAMES.index(name))
    messages = upward_messages(prior, surrogates_of(name, prior, message, 0, rng), message)
    truth = grid_draws(prior, message, rng, 200_000)

    def features(f):
        return np.concatenate([f, f**2, f[..., :1] * f[..., 1:], f[..., 1:] > 1.0], axis=-1)

    for share in (0.1, 0.5):
        particles = sample_shared(prior, messages, 0, 4_000, rng, size=60, defensive=share)
        weights = np.exp(particles.log_weights)[..., None]
        found = (weights * features(particles.value)).sum(axis=1)
        expected = features(truth)
        error = np.sqrt(found.var(axis=0, ddof=1) / len(found) + expected.var(axis=0) / len(expected))
        assert np.abs((found.mean(axis=0) - expected.mean(axis=0)) / error).max() < 4.5


@pytest.mark.slow
def test_defensive_draws_find_the_mode_that_tangents_miss():
    """At psi_1 = (+-2, .) the data fit alike; guided by one tangent, 32 particles rarely visit the other side."""
    prior = DiffusionPrior([ToSide(), ToSide()], [np.eye(2)] * 3)
    message = Evidence(np.diag([12.0, 0.0]), np.array([24.0, 0.0]))
    rng = np.random.default_rng(0)
    messages = upward_messages(prior, jacobian_surrogates(prior, message).surrogates, message)
    truth = grid_draws(prior, message, rng, 4_000)
    distances = {}
    for share in (0.0, 0.25):
        particles = sample_shared(prior, messages, 0, 64, rng, size=4_000, defensive=share)
        distances[share] = energy_score(pick(particles, rng), truth, rng).distance
    assert distances[0.25] < 0.7 * distances[0.0]


def five_dim_case(seed=0, actions=10, observations=2):
    prior = random_mlp_prior(5, 2, hidden=20, seed=seed)
    rng = np.random.default_rng([seed, 5])
    theta = prior.sample(rng, actions)
    X = rng.uniform(-1, 1, (actions, observations, 5))
    y = np.einsum("kni,ki->kn", X, theta) + rng.standard_normal((actions, observations))
    evidence = Evidence(np.einsum("kni,knj->kij", X, X), np.einsum("kni,kn->ki", X, y))
    return prior, message_of(prior, evidence, 0), rng


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_in_five_dimensions_the_error_falls_to_the_floor_as_particles_grow(name):
    """Energy distance to slice sampling, P = 1, 2, 4, ..., 64; random weights, hidden 20, ten actions."""
    prior, message, rng = five_dim_case()
    found = slice_sample(prior, *message, rng, 50, thin=60, burn_in=3_000, chains=80)
    assert found.r_hat.max() < 1.05
    truth = found.values.reshape(-1, 5)
    messages = upward_messages(prior, surrogates_of(name, prior, message, 0, rng), message)
    share = default_defensive(prior, name)
    scores, sizes = [], []
    for P in (1, 2, 4, 8, 16, 32, 64):
        particles = sample_shared(prior, messages, 0, P, rng, size=2_000, defensive=share)
        scores.append(energy_score(pick(particles, rng), truth, rng))
        sizes.append(particles.effective_sample_size.mean())
    print(name, [f"{s.distance:.4f} ({s.z_score:.1f})" for s in scores], [f"{s:.2f}" for s in sizes])
    assert scores[-1].distance < max(0.5 * scores[0].distance, 3 * scores[0].noise_floor)
    many = sample_shared(prior, messages, 0, 4_000, rng, size=500, defensive=0.1)
    last = energy_score(pick(many, rng), truth, rng).distance
    assert last < max(0.3 * scores[0].distance, 5 * scores[0].noise_floor)


@pytest.mark.slow
def test_32_particles_agree_with_slice_sampling_in_five_dimensions():
    """tanh links: one mode. Ten thousand innovations' worth of slices; z < 4.5."""
    rng = np.random.default_rng(3)
    links = [MLPLink([rng.uniform(-1, 1, (20, 5)) / 2, rng.uniform(-1, 1, (5, 20)) / 2], None, "tanh") for _ in "ab"]
    prior = DiffusionPrior(links, [np.eye(5)] * 3)
    theta = prior.sample(rng, 6)
    X = rng.uniform(-1, 1, (6, 3, 5))
    y = np.einsum("kni,ki->kn", X, theta) + rng.standard_normal((6, 3))
    evidence = Evidence(np.einsum("kni,knj->kij", X, X), np.einsum("kni,kn->ki", X, y))
    message = message_of(prior, evidence, 0)
    truth = slice_sample(prior, *message, rng, 20, thin=60, burn_in=1_000, chains=200)
    assert truth.r_hat.max() < 1.05
    for name in ("jacobian", "statistical"):
        messages = upward_messages(prior, surrogates_of(name, prior, message, 0, rng), message)
        share = default_defensive(prior, name)
        for P, good in ((1, False), (32, True)):
            particles = sample_shared(prior, messages, 0, P, rng, size=2_000, defensive=share)
            score = energy_score(pick(particles, rng), truth.values.reshape(-1, 5), rng)
            print(name, P, score, particles.effective_sample_size.mean())
            assert (score.z_score < 4.5) == good


def test_actions_of_independent_chains_agree_with_slice_sampling():
    """b = L, tangents of each action's own; one energy score an action, z < 4.5."""
    rng = np.random.default_rng(4)
    prior = small_case("tanh")[0].with_branch(2)
    evidence, _ = random_evidence(rng, 3)
    message = message_of(prior, evidence, 2)
    truth = slice_sample(prior, *message, rng, 5, thin=40, burn_in=200, chains=300, branch=2)
    messages = upward_messages(prior, jacobian_surrogates(prior, message, 2).surrogates, message, 2)
    particles = sample_actions(prior, messages, 2, None, 32, rng, size=1_500, defensive=0.1)
    assert particles.psi.shape == (1_500, 3, 32, 2)
    drawn = pick(particles, rng)
    for a in range(3):
        assert energy_score(drawn[:, a], truth.values[:, :, a].reshape(-1, 2), rng).z_score < 4.5


def test_a_branch_between_filters_the_actions_given_the_shared_part():
    """Given its parent an action's chain has one link and no approximation: against importance draws of the prior."""
    rng = np.random.default_rng(5)
    prior = small_case("tanh")[0].with_branch(1)
    evidence, _ = random_evidence(rng, 3)
    message = message_of(prior, evidence, 1)
    messages = upward_messages(prior, jacobian_surrogates(prior, message, 1).surrogates, message, 1)
    parent = np.array([0.5, -1.0])
    particles = sample_actions(prior, messages, 1, np.tile(parent, (700, 1)), 32, rng)
    drawn = pick(particles, rng)
    for a in range(3):
        value = prior.links[0](parent + rng.standard_normal((200_000, 2)))
        log_w = -0.5 * np.einsum("ni,ij,nj->n", value, message.G[a], value) + value @ message.h[a]
        weights = np.exp(log_w - log_w.max())
        truth = value[rng.choice(len(value), 1_400, p=weights / weights.sum())]
        assert energy_score(drawn[:, a], truth, rng).z_score < 4.5


def test_a_batch_of_filters_has_the_law_of_a_loop():
    """The statistical surrogate, which does resample; means and second moments of 1 000 each, |z| < 4.5."""
    prior = random_mlp_prior(2, 3, hidden=6, seed=1)
    rng = np.random.default_rng(6)
    message = Evidence(4 * np.eye(2), np.array([6.0, -2.0]))
    messages = upward_messages(prior, statistical_surrogates(prior, rng), message)
    batch = sample_shared(prior, messages, 0, 6, rng, size=1_000, defensive=0.2)
    assert (batch.effective_sample_size < 0.5).mean() > 0.2
    chain = as_chain(prior)
    loop = [sample_shared(chain, messages, 0, 6, rng, defensive=0.2) for _ in range(1_000)]
    one, other = pick(batch, rng), np.concatenate([pick(particles, rng) for particles in loop])
    sizes = batch.effective_sample_size, np.concatenate([particles.effective_sample_size for particles in loop])
    pairs = [(one, other), (one**2, other**2), (one[:, 0] * one[:, 1], other[:, 0] * other[:, 1]), sizes]
    for a, b in pairs:
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 1_000)
        assert np.abs((a.mean(axis=0) - b.mean(axis=0)) / error).max() < 4.5


def test_resampling_is_unbiased():
    """Counts against P w, |z| < 4.5; each is P w rounded up or down."""
    rng = np.random.default_rng(8)
    weights = rng.dirichlet(np.ones(7))
    ancestors = resample(np.tile(np.log(weights) + 300.0, (20_000, 1)), rng)
    counts = np.stack([(ancestors == i).sum(axis=1) for i in range(7)], axis=1)
    error = np.maximum(counts.std(axis=0), 1e-3) / np.sqrt(20_000)
    assert np.abs((counts.mean(axis=0) - 7 * weights) / error).max() < 4.5
    assert (np.abs(counts - 7 * weights) < 1).all()


def test_picking_follows_the_weights():
    prior, message = small_case()
    rng = np.random.default_rng(9)
    messages = upward_messages(prior, deck_surrogates(prior), message)
    particles = sample_shared(prior, messages, 0, 5, rng)
    many = particles._replace(
        value=np.repeat(particles.value, 20_000, axis=0), log_weights=np.repeat(particles.log_weights, 20_000, axis=0)
    )
    picked = (pick(many, rng)[:, None] == particles.value).all(axis=-1)
    assert (picked.sum(axis=1) == 1).all()
    weights = np.exp(particles.log_weights[0])
    error = np.sqrt(weights * (1 - weights) / 20_000)
    assert np.abs((picked.mean(axis=0) - weights) / error).max() < 4.5


def test_refusals_name_the_argument():
    prior, message = small_case()
    rng = np.random.default_rng(10)
    messages = upward_messages(prior, deck_surrogates(prior), message)
    with pytest.raises(ValueError, match="num_particles must be an integer >= 1, got 0"):
        sample_shared(prior, messages, 0, 0, rng)
    with pytest.raises(ValueError, match=r"branch must be an integer in 0\.\.1, got 2"):
        sample_shared(prior, messages, 2, 4, rng)
    with pytest.raises(ValueError, match="exploration must be a positive finite number"):
        sample_shared(prior, messages, 0, 4, rng, exploration=0.0)
    with pytest.raises(ValueError, match=r"defensive must be a share in \[0, 1\), got 1.0"):
        sample_shared(prior, messages, 0, 4, rng, defensive=1.0)
    with pytest.raises(ValueError, match="parents must be None exactly where branch is the depth 2"):
        sample_actions(prior, messages, 2, np.zeros((1, 2)), 4, rng)
    with pytest.raises(ValueError, match="surrogate must be one of jacobian, statistical, deck, got 'best'"):
        default_defensive(prior, "best")

    class Overflow(ToSide):
        def __call__(self, psi):
            return np.full_like(psi, np.inf)

    broken = DiffusionPrior([prior.links[0], ToSide()], prior.covariances)
    object.__setattr__(broken, "links", (Overflow(), ToSide()))
    with pytest.raises(ValueError, match=r"links\[0\] must return finite values, got"):
        sample_shared(broken, messages, 0, 4, rng)
