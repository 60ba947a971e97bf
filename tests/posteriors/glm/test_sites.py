"""Sites: what merging keeps, against sums over all rewards; long runs against quadrature."""

import numpy as np
import pytest

from dts_gym.posteriors.glm import glm_table
from dts_gym.posteriors.glm.expansion import expand
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.glm.glm_table import GLMTable
from dts_gym.posteriors.glm.sites import Sites
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward

FAMILIES = [GaussianReward(0.5), BernoulliReward(), PoissonReward()]
NAMES = [family.name for family in FAMILIES]
POINT, ROOT = np.array([0.8, -0.4, 0.3]), 0.2 * np.eye(3)


def filled(model, contexts, seed=0):
    """Sites of a reward at each context, and these rewards."""
    rng = np.random.default_rng(seed)
    rewards = model.sample(rng, contexts @ (POINT + 0.3 * rng.standard_normal(3)))
    sites = Sites(3)
    for x, y in zip(contexts, rewards.tolist(), strict=True):
        sites.with_one(x, y)
        sites.keep()
    return sites, rewards


def evidence(model, sites, t):
    """Of all that the sites hold, expanded at ``t``."""
    used = sites.used()
    G, h = expand(model, used.contexts, used.sums, t, used.counts)
    return (G, h) if sites.rest is None else (G + sites.rest.G, h + sites.rest.h)


@pytest.mark.parametrize("n", [200, 201, 3])
@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_merging_changes_nothing_to_second_order_at_its_point(model, n):
    contexts = np.random.default_rng(n).uniform(-1, 1, (n, 3))
    sites, rewards = filled(model, contexts)
    t, left = POINT, n
    for _ in range(3):  # merged ones are merged again, at another point
        G, h = evidence(model, sites, t)
        sites.merge(model, 1, t, ROOT)
        left = left // 2 + left % 2
        assert sites.length == left
        np.testing.assert_allclose(evidence(model, sites, t)[0], G, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(evidence(model, sites, t)[1], h, rtol=1e-10, atol=1e-10)
        assert np.linalg.eigvalsh(sites.rest.G)[0] >= -1e-13 * n
        assert (np.asarray(sites.used().counts) > 0).all()
        t = t + 0.1
    if model.name == "gaussian":  # quadratic everywhere
        np.testing.assert_allclose(evidence(model, sites, 9 * t)[0], 4 * contexts.T @ contexts, rtol=1e-10)
        np.testing.assert_allclose(evidence(model, sites, 9 * t)[1], 4 * rewards @ contexts, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("model", FAMILIES[1:], ids=NAMES[1:])
def test_away_from_its_point_a_merged_likelihood_is_nearer_than_a_quadratic(model):
    contexts = np.random.default_rng(1).uniform(-1, 1, (1000, 3))
    sites, rewards = filled(model, contexts)
    frozen = expand(model, contexts, rewards, POINT)
    for _ in range(3):
        sites.merge(model, 1, POINT, ROOT)
    assert sites.length == 125
    for step in 0.5 * np.eye(3):
        t = POINT + step
        slope = contexts.T @ (rewards - model.mean(contexts @ t))
        G, h = evidence(model, sites, t)
        assert np.linalg.norm(h - G @ t - slope) < 0.25 * np.linalg.norm(frozen.h - frozen.G @ t - slope)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_sites_of_one_direction_merge_without_loss(model):
    contexts = np.random.default_rng(2).integers(-1, 2, (500, 3)).astype(float)
    sites, rewards = filled(model, contexts)
    sites.merge(model, 27, POINT, ROOT)
    assert sites.length <= 27
    assert sites.rest is None
    for t in (POINT, np.zeros(3), np.array([3.0, -4.0, 5.0])):
        for mine, whole in zip(evidence(model, sites, t), expand(model, contexts, rewards, t), strict=True):
            np.testing.assert_allclose(mine, whole, rtol=1e-10, atol=1e-9 * np.abs(whole).max())


def test_rewards_of_no_weight_merge_too():
    sites, _ = filled(BernoulliReward(), np.random.default_rng(3).uniform(1, 2, (9, 3)))
    sites.merge(BernoulliReward(), 1, np.full(3, -1e3), ROOT)  # every derivative there is zero in floating point
    assert np.asarray(sites.used().counts).sum() == 9
    assert np.isfinite(evidence(BernoulliReward(), sites, np.zeros(3))[1]).all()


@pytest.mark.parametrize(("mode", "most"), [("map", 1024), ("online", 256)])
def test_the_number_of_sites_is_bounded(mode, most):
    table, rng = GLMTable(BernoulliReward(), 1, mode), np.random.default_rng(0)
    lengths = []
    for _ in range(most + 100):
        table.observe(0, rng.uniform(-1, 1, 1), float(rng.integers(2)), np.zeros(1), np.eye(1))
        lengths.append(int(table.state()["lengths"][0]))
    assert lengths[: most - 1] == list(range(1, most))
    assert lengths[most - 1] == most // 2
    assert max(lengths) == most - 1


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_many_merges_stay_near_the_fit_to_all_rewards(model, monkeypatch):
    # Errors in posterior standard deviations, with 64 sites where there are 600 rewards.
    rng = np.random.default_rng(4)
    full, few = GLMTable(model, 3, "map"), GLMTable(model, 3, "online")
    monkeypatch.setattr(glm_table, "_MOST_SITES", {"map": 1 << 20, "online": 64})
    theta = np.array([1.0, 2.0, -1.0])
    for _ in range(600):
        x = rng.uniform(-1, 1, 3)
        y = float(model.sample(rng, np.array(x @ theta)))
        rows = [table.observe(5, x, y, np.zeros(3), 2 * np.eye(3)) for table in (full, few)]
    (G, _), (less, _) = rows
    root = np.linalg.cholesky(np.linalg.inv(G + 0.5 * np.eye(3)))
    off = np.linalg.solve(root, few.means[0] - full.means[0])
    assert np.abs(off).max() < (1e-6 if model.name == "gaussian" else 0.2)
    np.testing.assert_allclose(root.T @ less @ root, root.T @ G @ root, atol=0.1)


GRID = np.linspace(-5, 25, 60_001)
RUNS = {  # contexts' size, prior variance, share of ones
    "all ones": (1.0, 2.0, 1.0),
    "all ones, narrow": (1.0, 1.0, 1.0),
    "all ones, long contexts": (3.0, 1.0, 1.0),
    "98 % ones": (1.0, 1.0, 0.98),
    "98 % ones, wide": (1.0, 25.0, 0.98),
}


@pytest.mark.parametrize("mode", ["map", "online"])
@pytest.mark.parametrize("run", RUNS)
def test_long_runs_against_quadrature(mode, run):
    # One context, 2000 rewards. Expanded each where the mode was then, "online" was 1.1 to 3.6 deviations off.
    size, variance, share = RUNS[run]
    ones = round(2000 * share)
    rewards = np.random.default_rng(0).permutation(np.repeat([1.0, 0.0], [ones, 2000 - ones]))
    prior = TwoLevelPrior(np.zeros(1), np.zeros((1, 1)), np.array([[variance]]))
    posterior = GLMPosterior(prior, 1, BernoulliReward(), mode)
    for y in rewards.tolist():
        posterior.update(np.array([size]), 0, y)
    log_density = -ones * np.logaddexp(0, -size * GRID) - (2000 - ones) * np.logaddexp(0, size * GRID)
    density = np.exp(log_density - GRID**2 / (2 * variance) - (log_density - GRID**2 / (2 * variance)).max())
    density /= density.sum()
    mean = density @ GRID
    std = np.sqrt(density @ (GRID - mean) ** 2)
    ours, cov = posterior.moments()
    assert abs(ours[0, 0] - mean) < 0.05 * std
    assert np.sqrt(cov[0, 0]) == pytest.approx(std, rel=0.15)  # Laplace's own
