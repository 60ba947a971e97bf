"""An action's parameters given the other actions' data: against the dense posterior that learned only those."""

import numpy as np
import pytest

from dts_gym import make_agent
from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.mcmc.slice_posterior import SlicePosterior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from truth import random_chain, random_cov

MODEL = GaussianReward(0.7)


def chain(branch, singular=False):
    rng = np.random.default_rng([7, branch])
    covs = [random_cov(rng, 2) for _ in range(4)]
    if singular:
        covs[0] = np.diag([1.0, 0.0])
    return random_chain(rng, 3, branch, 2, covs)


def engine_of(kind, prior):
    if kind == "glm":
        return GLMPosterior(prior.two_level(), 4, MODEL)
    if kind == "slice":
        return SlicePosterior(prior, 4, MODEL, num_walkers=1, num_steps=1)
    if prior.branch == 0:
        return ChainPosterior(prior, 4, MODEL, surrogate=kind)
    return BranchedPosterior(prior, 4, MODEL, branch=prior.branch, surrogate=kind)


@pytest.mark.parametrize("singular", [False, True])
@pytest.mark.parametrize(
    ("kind", "branch"),
    [*((kind, b) for kind in ("glm", "jacobian", "statistical") for b in range(4)), ("slice", 0)],
)
def test_it_is_the_dense_posterior_of_the_others_data(kind, branch, singular):
    prior = chain(branch, singular)
    engine, rng = engine_of(kind, prior), np.random.default_rng(1)
    rounds = [(rng.uniform(-1, 1, 2), int(rng.integers(3)), float(rng.standard_normal() + 1)) for _ in range(15)]
    for x, a, y in rounds:
        engine.update(x, a, y)
    for action in range(4):  # the last is unplayed
        others = make_agent("JointTS", BanditProblem(4, 2, prior, MODEL), seed=0)
        for x, a, y in rounds:
            if a != action:
                others.update(x, a, y)
        mean, cov = others.moments()
        block = slice(2 * action, 2 * action + 2)
        found_mean, found_cov, *inverse = getattr(engine, "levels", engine)._without(action)
        if inverse:  # of GLM posteriors it is a root with its inverse
            found_cov = found_cov @ found_cov.T
        np.testing.assert_allclose(found_mean, mean[action], atol=1e-8)
        np.testing.assert_allclose(found_cov, cov[block, block], atol=1e-8)
