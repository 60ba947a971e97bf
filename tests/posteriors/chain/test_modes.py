"""Posteriors of several modes by particles: against symmetry, long slice runs, and what one guide alone gives."""

import numpy as np
import pytest

from dts_gym import make_agent
from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors.chain import tangent_tracker
from dts_gym.posteriors.chain.chain import as_chain
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.modes import WINDOW, distances, laplace_masses, modes_of
from dts_gym.posteriors.chain.particles import pick, sample_shared
from dts_gym.posteriors.chain.races import raced_tangents
from dts_gym.posteriors.chain.surrogates import statistical_surrogates
from dts_gym.posteriors.chain.tangent_tracker import TangentSearch
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.links import AffineLink, MLPLink
from dts_gym.priors.random_priors import random_mlp_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward


def folded_prior(depth, std, branch):
    """``f_1(psi) = (|psi_0|, 3 psi_0)``, above it the identity as a perceptron: rewards of theta_0 leave two modes."""
    fold = MLPLink([[[1.0, 0], [-1, 0]], [[1.0, 1], [3, -3]]])
    same = MLPLink([[[1.0, 0], [-1, 0], [0, 1], [0, -1]], [[1.0, -1, 0, 0], [0, 0, 1, -1]]])
    return DiffusionPrior([fold, same][:depth], [std**2 * np.eye(2)] * depth + [np.eye(2)], branch)


def folded_agent(depth, std, branch, n, **settings):
    problem = BanditProblem(1, 2, folded_prior(depth, std, branch), GaussianReward(0.3))
    agent, rng = make_agent("dTS", problem, seed=n, **settings), np.random.default_rng([0, n])
    for y in 1.5 + 0.3 * rng.standard_normal(n):
        agent.update([1.0, 0.0], 0, float(y))
    return agent


@pytest.mark.parametrize("n", [3, 30, 300])
@pytest.mark.parametrize("std", [0.05, 0.3])
@pytest.mark.parametrize(("depth", "branch"), [(1, 0), (1, 1), (2, 0), (2, 2)])
def test_two_equal_modes_are_drawn_alike(depth, branch, std, n):
    """By symmetry half of the draws has a positive theta_1: 4 000 draws, 0.42 to 0.58 or ten standard errors.

    One guide had 0.17 to 0.82.
    """
    agent = folded_agent(depth, std, branch, n)
    if branch == 0:
        theta = agent.sample_parameters(4_000)[:, 0]
    else:
        draws = [agent._posterior.levels.values(agent._rngs["act"], 1.0, from_clouds=True)[0] for _ in range(4_000)]
        theta = np.concatenate(draws)
    assert 0.42 < (theta[:, 1] > 0).mean() < 0.58
    mean, cov = agent.moments()
    assert abs(mean[0, 1]) < 0.1 * np.sqrt(cov[1, 1])
    assert agent.diagnostics["mode_coverage"] > 0.99


@pytest.mark.parametrize(("depth", "branch"), [(1, 0), (2, 2)])
def test_the_coverage_tells_of_a_mode_that_the_effective_sample_size_does_not_see(depth, branch):
    agent = folded_agent(depth, 0.05, branch, 300)
    search = agent._engine.search if branch == 0 else agent._engine.levels._searches[0]
    search.modes = None  # as if the second mode had not been found
    agent.sample_parameters(100 if branch == 0 else None)
    gauges = agent.diagnostics
    assert gauges["effective_sample_size"] > 0.5
    assert 0.4 < gauges["mode_coverage"] < 0.7
    assert folded_agent(depth, 0.05, branch, 300, approximation="linearised").diagnostics["mode_coverage"] < 0.6
    few, many = (
        folded_agent(depth, 0.05, branch, 300, surrogate="statistical", num_particles=P).diagnostics["mode_coverage"]
        for P in (16, 512)
    )
    assert few < 0.4
    assert many > 0.9


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("scale", [0.7, 1.0])
def test_a_mixture_of_guides_weighs_without_bias(scale, mixed):
    """Two unequal modes of a chain of two links, weighted means of seven features, |z| < 4.5: one in 20 000 runs.

    Against importance sampling of the prior, tempered. Without the mixture's guides the filter is as right with so many
    particles, but its error is several times larger.
    """
    fold = MLPLink([[[1.0, 0], [-1, 0], [0, 1], [0, -1]], [[1.0, 0.8, 0, 0], [0.5, 0, 1, -1]]])
    bend = MLPLink([[[1.0, 0.5], [-1, 0.3], [0.2, 1]], [[1.0, -1, 0.3], [0.4, 0.1, 1]]])
    prior, rng = DiffusionPrior([fold, bend], [np.eye(2)] * 3), np.random.default_rng([3, mixed])
    chain, message = as_chain(prior), Evidence(np.diag([6.0, 0.5]), np.array([10.0, 0.2]))
    starts = [rng.standard_normal((14, 2)) for _ in prior.links]
    modes = modes_of(chain, message, *raced_tangents(chain, message, starts))
    assert len(modes.log_density) >= 2
    maps = modes.surrogates if mixed else [type(own)(own.weight[0], own.offset[0]) for own in modes.surrogates]
    messages = upward_messages(chain, maps, message)
    particles = sample_shared(
        chain, messages, 0, 1_000, rng, size=60, exploration=scale, defensive=0.25, mixed=mixed
    )  # fmt: skip

    def features(f):
        return np.concatenate([f, f**2, f[..., :1] * f[..., 1:], f[..., 1:] > 0.5, np.abs(f[..., 1:])], axis=-1)

    found = (np.exp(particles.log_weights)[..., None] * features(particles.value)).sum(axis=1)
    tempered = DiffusionPrior(prior.links, [scale**2 * cov for cov in prior.covariances], 2)
    f = prior.links[0](tempered.sample_chain(rng, 150_000)[1])
    log_weights = (f @ message.h - 0.5 * np.vecdot(f @ message.G, f)) / scale**2
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    truth = weights @ features(f)
    error = np.sqrt((weights**2) @ (features(f) - truth) ** 2 + found.var(axis=0, ddof=1) / 60)
    assert (np.abs(found.mean(axis=0) - truth) / error).max() < 4.5


def test_modes_are_distinct_ends_that_matter():
    prior = random_mlp_prior(3, 2, hidden=20, seed=5)
    chain, rng = as_chain(prior), np.random.default_rng(5)
    message = Evidence(8 * np.eye(3), 8 * prior.links[0](rng.standard_normal(3)))
    starts = [rng.standard_normal((14, 3)) for _ in prior.links]
    modes = modes_of(chain, message, *raced_tangents(chain, message, starts))
    masses, apart = laplace_masses(chain, message, modes), distances(chain, message, modes, modes)
    assert len(masses) > 1
    assert modes.log_density.argmax() == 0
    assert (masses[1:] >= masses.max() - WINDOW).all()
    assert (apart[np.tril_indices(len(masses), -1)[::-1]] > 2.0).all()
    np.testing.assert_allclose(np.diag(apart), 0.0, atol=1e-9)
    affine = as_chain(DiffusionPrior([AffineLink(np.eye(3)), prior.links[1]], prior.covariances))
    assert modes_of(affine, message, *raced_tangents(affine, message, starts)).path[0].shape[1] == 3


def test_a_saved_agent_of_several_modes_continues_bit_for_bit(tmp_path):
    for branch in (0, 2):
        agent = folded_agent(2, 0.3, branch, 70)
        agent.save(tmp_path / "agent")
        again = type(agent).load(tmp_path / "agent")
        for each in (agent, again):
            for y in (1.2, 1.9):
                each.update([1.0, 0.1], 0, y)
        np.testing.assert_array_equal(agent.sample_parameters(), again.sample_parameters())
        np.testing.assert_array_equal(agent.moments()[0], again.moments()[0])


@pytest.mark.slow
def test_a_random_perceptrons_modes_are_found_as_long_slice_runs_find_them():
    """Energy distance to 100 long Markov chains of a random chain with several modes, z < 4.5 (one in 10^5 runs)."""
    prior, rng = random_mlp_prior(2, 2, hidden=20, seed=0), np.random.default_rng([0, 5])
    theta = prior.sample(rng, 5)
    agent = make_agent("dTS", BanditProblem(5, 2, prior, GaussianReward(0.3)), seed=0)
    for _ in range(30):
        x, a = rng.uniform(-1, 1, 2), int(rng.integers(5))
        agent.update(x, a, float(x @ theta[a] + 0.3 * rng.standard_normal()))
    posterior = agent._engine
    truth = slice_sample(prior, *posterior.message, rng, 20, thin=100, burn_in=3_000, chains=100)
    assert truth.r_hat.max() < 1.05
    values = truth.values.reshape(-1, 2)
    assert len(posterior.search.modes.log_density) > 1
    score = energy_score(pick(posterior._filtered(2_000, rng, 1.0), rng), values, rng)
    posterior.search.modes = None
    alone = energy_score(pick(posterior._filtered(2_000, rng, 1.0), rng), values, rng)
    print(score, alone)
    assert score.z_score < 4.5
    assert alone.distance > 5 * max(score.distance, score.noise_floor)


def test_modes_are_followed_between_looks_and_the_densest_stands_first(monkeypatch):
    """The search looks which modes matter at many starts alone; else it climbs, and orders them by their density."""
    chain = as_chain(random_mlp_prior(3, 2, seed=1))
    statistical = statistical_surrogates(chain, np.random.default_rng(0))
    search = TangentSearch(chain, statistical, (3,), all_modes=True)
    rng = np.random.default_rng(5)
    G, h, looked, firsts = np.zeros((3, 3)), np.zeros(3), [], set()
    look = tangent_tracker.distinct_modes
    monkeypatch.setattr(tangent_tracker, "distinct_modes", lambda *given: looked.append(changes) or look(*given))
    several = 0
    for changes in range(1, 201):
        x = rng.standard_normal(3)
        G, h = G + np.outer(x, x) / 20, h + x * rng.standard_normal() / 4
        before = search.modes
        search.search(Evidence(G, h), changes)
        if search.modes is not None:
            several += 1
            assert search.modes.log_density.argmax() == 0
            np.testing.assert_array_equal(search.path[0], search.modes.path[0][0])
            if changes > 64 and changes % 32 and before is not None:
                assert len(before.log_density) == len(search.modes.log_density)
                firsts.add(search.modes.path[0][0].tobytes())
    assert several > 100
    assert all(changes <= 64 or changes % 32 == 0 for changes in looked)
    assert len(firsts) > 1
