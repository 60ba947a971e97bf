"""Expansions that other actions' data have left behind: against quadrature, and the engines against each other."""

import numpy as np
import pytest

from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.glm import renewal
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.mcmc.slice_posterior import SlicePosterior
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward

K = 25
GRID = np.linspace(-13, 13, 1001)


def long_ago(model, shared, own, size, seed):
    """Ten rounds of action 0, then 400 of the others: contexts (n,), actions, rewards; their true parameters."""
    rng = np.random.default_rng(seed)
    theta = np.sqrt(shared) * rng.standard_normal() + np.sqrt(own) * rng.standard_normal(K)
    actions = np.concatenate([np.zeros(10, dtype=int), rng.integers(1, K, 400)])
    x = size * rng.uniform(-1, 1, len(actions))
    return x, actions, model.sample(rng, x * theta[actions])


def true_moments(model, x, actions, y, shared, own):
    """Mean and deviation of action 0's parameter, by sums over grids of the shared part and of each action's own."""
    kernel = np.exp(-((GRID[:, None] - GRID) ** 2) / (2 * own))
    log_shared, likelihood = -(GRID**2) / (2 * shared), {}
    for a in np.unique(actions):
        seen = actions == a
        log = model.log_likelihood(y[seen][:, None], x[seen][:, None] * GRID).sum(axis=0)
        likelihood[a] = np.exp(log - log.max())
        if a:
            log_shared = log_shared + np.log(kernel @ likelihood[a])
    density = (np.exp(log_shared - log_shared.max()) @ kernel) * likelihood[0]
    density /= density.sum()
    mean = density @ GRID
    return mean, np.sqrt(density @ (GRID - mean) ** 2)


def errors(model, shared, own, size):
    """Of the mean of the action played long ago, in posterior standard deviations, in eight histories."""
    off = []
    for seed in range(8):
        x, actions, y = long_ago(model, shared, own, size, seed)
        prior = TwoLevelPrior(np.zeros(1), np.array([[shared]]), np.array([[own]]))
        posterior = GLMPosterior(prior, K, model)
        for context, action, reward in zip(x, actions.tolist(), y.tolist(), strict=True):
            posterior.update(np.array([context]), action, reward)
        mean, std = true_moments(model, x, actions, y, shared, own)
        off.append((posterior.moments()[0][0, 0] - mean) / std)
    return np.array(off)


SETTINGS = [
    (BernoulliReward(), 4.0, 0.25, 1.0),
    (BernoulliReward(), 4.0, 0.25, 2.0),
    (BernoulliReward(), 1.0, 0.25, 4.0),
    (PoissonReward(), 1.0, 0.25, 1.0),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=["bernoulli", "bernoulli, long", "bernoulli, longer", "poisson"])
def test_an_action_played_long_ago_has_its_posterior_mean(setting, monkeypatch):
    # Root mean square and largest; without renewal the second is 0.25 to 0.7, and the first 0.09 to 0.3.
    off = errors(*setting)
    assert np.sqrt((off**2).mean()) < 0.05
    assert np.abs(off).max() < 0.2
    monkeypatch.setattr(renewal, "_STALE", np.inf)
    stale = errors(*setting)
    assert np.sqrt((stale**2).mean()) > 1.5 * np.sqrt((off**2).mean())


def engines(prior, branch):
    """The posterior in closed form, and those without one."""
    model = BernoulliReward()
    yield GLMPosterior(prior.two_level(branch), K, model)
    if branch == 0:
        yield ChainPosterior(prior, K, model, num_particles=8)
        yield ChainPosterior(prior, K, model, num_particles=8, surrogate="statistical")
        yield SlicePosterior(prior, K, model, num_walkers=2, num_steps=1)
    else:
        keywords = {"branch": branch, "num_particles": 4, "expansion": "map", "pool_size": 10, "pool": "fresh"}
        yield BranchedPosterior(prior, K, model, surrogate="jacobian", **keywords)
        yield BranchedPosterior(prior, K, model, surrogate="statistical", **keywords)


@pytest.mark.parametrize("branch", [0, 1])
def test_all_engines_expand_where_the_closed_form_does(branch, monkeypatch):
    # Linear links: the surrogates of all engines are the links.
    weights = [np.array([[1.0, 0.4], [-0.3, 0.8]]), np.array([[1.2, 0.0], [0.5, 1.0]])]
    prior = LinearDiffusionPrior(weights, [np.eye(2) / 8, np.eye(2) / 8, 4 * np.eye(2)])
    rng = np.random.default_rng(2)
    theta = prior.with_branch(branch).sample(rng, K)
    actions = [0] * 10 + rng.integers(1, K, 80).tolist()
    contexts = rng.uniform(-1.5, 1.5, (90, 2))
    rewards = BernoulliReward().sample(rng, (contexts * theta[actions]).sum(axis=1)).tolist()
    seen = []
    for posterior in engines(prior, branch):
        for x, action, y in zip(contexts, actions, rewards, strict=True):
            posterior.update(x, action, y)
        seen.append((posterior.table if hasattr(posterior, "table") else posterior.levels.table).evidence())
    monkeypatch.setattr(renewal, "_STALE", np.inf)
    stale = next(iter(engines(prior, branch)))
    for x, action, y in zip(contexts, actions, rewards, strict=True):
        stale.update(x, action, y)
    assert np.abs(stale.table.evidence()[0][0] / seen[0][0][0] - 1).max() > 0.02
    for G, h in seen[1:]:
        np.testing.assert_allclose(G[0], seen[0][0][0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(h[0], seen[0][1][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "expansion"), [(GaussianReward(1.0), "map"), (BernoulliReward(), "mle")])
def test_evidence_that_no_prior_moves_is_left_alone(model, expansion, monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing is to be expanded again")

    monkeypatch.setattr(renewal, "renew", refuse)
    prior = TwoLevelPrior(np.zeros(1), np.eye(1), np.eye(1))
    posterior = GLMPosterior(prior, K, model, expansion)
    monkeypatch.setattr("dts_gym.posteriors.glm.glm_posterior.renew", refuse)
    for i in range(30):
        posterior.update(np.ones(1), i % 5, float(i % 2))
