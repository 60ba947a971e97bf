"""Branches between the extremes: the shared part chosen by the actions' own filters, against grids."""

import numpy as np
import pytest

from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.particles import sample_shared
from dts_gym.posteriors.chain.surrogates import statistical_surrogates
from dts_gym.posteriors.evidence import Evidence
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.links import MLPLink
from dts_gym.problem.rewards import GaussianReward

OWN, MIDDLE, NOISE = 0.09, 0.25, 0.3  # variances of theta and of psi_1 given what is above, and the rewards' deviation
NODES = np.linspace(-6, 6, 601)
DENSITY = np.exp(-0.5 * NODES**2) / np.exp(-0.5 * NODES**2).sum()


def bent_prior(seed):
    """One dimension, two links, actions with psi_1 of their own: branch 1."""
    rng = np.random.default_rng([9, seed])
    links = [
        MLPLink([rng.uniform(-2, 2, (6, 1)), rng.uniform(-1, 1, (1, 6))], [rng.uniform(-1, 1, 6), np.zeros(1)])
        for _ in range(2)
    ]
    return DiffusionPrior(links, [OWN * np.eye(1), MIDDLE * np.eye(1), np.eye(1)], 1)


def learned(prior, played, seed, **settings):
    """A posterior after three rewards of each of ``played`` actions, and the evidence on them, (K,) and (K,)."""
    rng = np.random.default_rng([seed, played])
    theta = prior.sample(rng, played)[:, 0]
    posterior = BranchedPosterior(prior, played + 1, GaussianReward(NOISE), branch=1, **settings)
    X = rng.uniform(-1, 1, (played, 3))
    y = X * theta[:, None] + NOISE * rng.standard_normal(X.shape)
    for a in range(played):
        for x, reward in zip(X[a], y[a].tolist(), strict=True):
            posterior.update(np.array([x]), a, reward)
    return posterior, (X**2).sum(axis=1) / NOISE**2, (X * y).sum(axis=1) / NOISE**2


def below(prior, parent):
    """``f_1(psi_1)`` at the nodes of psi_1's noise, (parents, nodes)."""
    psi = parent[:, None] + np.sqrt(MIDDLE) * NODES
    return prior.links[0](psi[..., None])[..., 0]


def true_moments(prior, G, h):
    """Mean and deviation of an unplayed action's ``f_1``, by grids of psi_2 and of the noise of every psi_1."""
    psi = np.linspace(-5.5, 5.5, 801)
    f = below(prior, prior.links[1](psi[:, None])[:, 0])
    log_weights = -0.5 * psi**2
    for gamma, beta in zip(G / (1 + OWN * G), h / (1 + OWN * G), strict=True):
        exponent = beta * f - 0.5 * gamma * f * f
        top = exponent.max(axis=1)
        log_weights += top + np.log(np.exp(exponent - top[:, None]) @ DENSITY)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = weights @ (f @ DENSITY)
    return mean, np.sqrt(weights @ (f**2 @ DENSITY) - mean**2)


@pytest.mark.slow
def test_an_unplayed_action_is_no_longer_biased_by_the_surrogates():
    """128 particles, ten played actions, 1 500 draws of the shared part: the mean of ``f_1`` in deviations.

    The chance error is 0.026 at most, and smaller by what the actions' own noise takes of the spread.
    """
    found = {}
    for num_shared_draws in (1, 8):
        prior = bent_prior(0)
        posterior, G, h = learned(prior, 10, 0, num_particles=128, num_shared_draws=num_shared_draws)
        rng = np.random.default_rng(1)
        parents = np.concatenate([posterior.levels.shared_draws(100, rng, 1.0) for _ in range(15)])[:, 0]
        mean, std = true_moments(prior, G, h)
        found[num_shared_draws] = abs((below(prior, parents) @ DENSITY).mean() - mean) / std
    print(found)
    assert found[8] < 0.08
    assert found[1] > 0.2


@pytest.mark.parametrize(("played", "seed", "far", "wide"), [(10, 0, 0.12, 1.06), (3, 3, 0.12, 1.2), (40, 2, 0.1, 1.1)])
def test_moments_choose_the_shared_part_by_the_actions_filters(played, seed, far, wide):
    """By default too: before, means were .27, .26 and .20 deviations off, and deviations 1.11, 1.47 and 1.26 times."""
    prior = bent_prior(seed)
    posterior, G, h = learned(prior, played, seed)
    mean, std = true_moments(prior, G, h)
    found, cov = posterior.moments()  # by a fixed rule
    deviation = np.sqrt(cov[-1, -1] - OWN)
    assert abs(found[-1, 0] - mean) < far * std
    assert 1 / wide < deviation / std < wide
    weights, means, _ = posterior.laws(np.ones((1, 1))).other  # what marginals, bounds and greedy play read
    assert abs(np.vdot(weights, means) - mean) < far * std


@pytest.mark.parametrize("scale", [0.7, 1.0])
@pytest.mark.parametrize("defensive", [0.0, 0.25])
def test_the_normaliser_is_unbiased(defensive, scale):
    """The mean of 4 000 filters' normalisers against 400 000 draws of the prior, |z| < 4.5: one in 40 000 runs."""
    prior, rng = bent_prior(2).with_branch(0), np.random.default_rng([int(4 * defensive), int(10 * scale)])
    message = Evidence(np.array([[1.5]]), np.array([1.0]))
    messages = upward_messages(prior, statistical_surrogates(prior, rng, 1_000), message)
    particles = sample_shared(prior, messages, 0, 8, rng, size=4_000, exploration=scale, defensive=defensive)
    found = np.exp(particles.log_normaliser)
    tempered = DiffusionPrior(prior.links, [scale**2 * cov for cov in prior.covariances], 2)
    f = prior.links[0](tempered.sample_chain(rng, 400_000)[1])[:, 0]
    truth = np.exp((f - 0.75 * f * f) / scale**2)
    error = np.sqrt(found.var() / len(found) + truth.var() / len(truth))
    assert abs(found.mean() - truth.mean()) < 4.5 * error


def test_one_shared_draw_is_the_default_and_more_change_only_what_lies_between():
    with pytest.raises(ValueError, match="num_shared_draws must be an integer >= 1, got 0"):
        learned(bent_prior(0), 2, 0, num_shared_draws=0)
    one, many = (learned(bent_prior(0), 2, 0, num_shared_draws=S)[0] for S in (1, 4))
    assert not np.array_equal(*(p.levels.shared_draws(3, np.random.default_rng(0), 1.0) for p in (one, many)))
    for posterior in (one, many):  # without rewards there is nothing to choose by
        posterior.restore(BranchedPosterior(bent_prior(0), 3, GaussianReward(NOISE), branch=1).state())
    np.testing.assert_array_equal(*(p.levels.shared_draws(3, np.random.default_rng(0), 1.0) for p in (one, many)))
