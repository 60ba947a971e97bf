"""A user's own priors: chains written when every prior was a chain, and priors that are not chains."""

import functools

import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, GaussianReward, Prior, choose_branch, make_agent
from dts_gym.checks import check_prior
from dts_gym.diagnostics.prior_report import prior_figure, prior_report
from dts_gym.diagnostics.reweighted_prior import draw_pool
from dts_gym.priors import ChainPrior, LinearDiffusionPrior, as_chain_prior, as_linear, as_prior
from dts_gym.priors.links import AffineLink, MLPLink
from dts_gym.priors.misspecified import misspecified_prior

RESTS = ("EpsilonGreedy", "GLM-TS", "LinTS", "LinUCB", "Random", "UCB-GLM")  # of agents: these need no prior
FITTED = ("TunedTS", "MixTS", "MarginalLinTS")  # these need draws
CHAINED = ("dTS", "dUCB", "HierTS", "JointTS", "LaplaceDPS")  # these need links


class OldChain(Prior):
    """A chain as users wrote it against `Prior`: sizes, links, covariances; its draws are inherited."""

    def __init__(self, links, branch=0):
        self.links, self.branch = tuple(links), branch
        self.dim, self.depth = 2, len(self.links)
        self.covariances = tuple(np.eye(2) / (ell + 1) for ell in range(self.depth + 1))

    def with_branch(self, branch):
        return OldChain(self.links, branch)

    def state(self):
        raise ValueError("links cannot be saved")


class OldMixin:
    """A class of the user's own beside the prior."""

    def describe(self):
        return f"of depth {self.depth}"


class OldBase(Prior):
    """Said by a user's library in between, which leaves the chain to others."""

    def state(self):
        raise ValueError("links cannot be saved")


class OldLeaf(OldMixin, OldBase):
    """A chain whose class names `Prior` only far up."""

    __init__ = OldChain.__init__
    with_branch = OldChain.with_branch


class Bumps(Prior):
    """No chain: each coordinate of each action is one of two values, and a part is common to all actions."""

    dim = 2

    def sample(self, rng, num_actions):
        return rng.choice([-1.0, 1.0], (num_actions, 2)) + rng.standard_normal(2) / 4

    def state(self):
        raise ValueError("Bumps cannot be saved")


def affine_links():
    return [AffineLink(np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([0.2, -0.1]))] * 2


def bent_links():
    return [MLPLink([np.eye(2), np.array([[1.0, 0.3], [-0.2, 0.8]])], activation="tanh")] * 2


def problem(prior, features="disjoint"):
    return BanditProblem(5, 2, prior, GaussianReward(0.5), features)


@pytest.mark.parametrize("kind", [OldChain, OldLeaf])
@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_chain_written_against_prior_is_one(kind, branch):
    prior = kind(affine_links(), branch)
    assert isinstance(prior, ChainPrior)
    assert as_prior(prior) is as_chain_prior(prior) is prior
    built_in = dts_gym.DiffusionPrior(prior.links, prior.covariances, branch)
    streams = [np.random.default_rng(0) for _ in range(2)]
    drawn, expected = (one.sample_chain(rng, 4) for one, rng in zip((prior, built_in), streams, strict=True))
    for level, truth in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(level, truth)
    np.testing.assert_array_equal(prior.sample(np.random.default_rng(0), 4), expected[0])
    np.testing.assert_array_equal(as_linear(prior).weights, as_linear(built_in).weights)
    assert as_linear(kind(bent_links())) is None
    assert not issubclass(Prior, ChainPrior)
    assert OldLeaf(affine_links()).describe() == "of depth 2"


def test_a_chain_written_against_prior_passes_the_check():
    check_prior(OldChain(bent_links(), 1))


@pytest.mark.parametrize("links", [affine_links, bent_links])
@pytest.mark.parametrize("features", ["disjoint", "shared"])
@pytest.mark.parametrize("agent_id", [*(a for a in CHAINED if a != "LaplaceDPS"), *FITTED])
def test_every_agent_plays_a_chain_written_against_prior_as_the_built_in_one(agent_id, features, links):
    settings = {"num_components": 2} if agent_id == "MixTS" else {}
    old = OldChain(links(), 1)
    make = functools.partial(make_agent, agent_id, seed=0, **settings)
    if features == "shared" and agent_id in ("HierTS", "JointTS", "MarginalLinTS"):
        return  # of parameters an action
    if links is bent_links and agent_id in ("HierTS", "JointTS"):
        with pytest.raises(ValueError, match=r"problem must have a prior of affine links for .*, got OldChain"):
            make(problem(old))
        return
    agents = [make(problem(prior, features)) for prior in (old, dts_gym.DiffusionPrior(old.links, old.covariances, 1))]
    rng = np.random.default_rng(1)
    for _ in range(6):
        x = rng.standard_normal(agents[0].problem.context_shape)
        actions = [agent.act(x) for agent in agents]
        assert actions[0] == actions[1]
        for agent in agents:
            agent.update(x, actions[0], 0.3)


def test_an_agent_of_a_prior_that_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(ValueError, match="links cannot be saved"):
        make_agent("dTS", problem(OldChain(affine_links())), seed=0).save(tmp_path / "agent.npz")
    with pytest.raises(ValueError, match="Bumps cannot be saved"):
        Bumps().save(tmp_path / "prior.safetensors")


@pytest.mark.parametrize("agent_id", CHAINED)
def test_a_prior_that_is_no_chain_is_refused_where_one_is_needed(agent_id):
    with pytest.raises(ValueError, match=r"prior must be a chain of links \(a dts_gym ChainPrior\), got Bumps"):
        make_agent(agent_id, problem(Bumps()), seed=0)


@pytest.mark.parametrize(
    "ask",
    [
        lambda prior, path: choose_branch(prior, [np.ones((3, 2))]),
        lambda prior, path: draw_pool(prior, 10, np.random.default_rng(0)),
        lambda prior, path: prior_figure(prior, np.ones((3, 2)), path / "figure.png"),
        lambda prior, path: dts_gym.envs.DiffusionBanditEnv(prior=prior),
        lambda prior, path: as_chain_prior(prior),
    ],
)
def test_functions_of_a_chain_refuse_a_prior_that_is_none(ask, tmp_path):
    with pytest.raises(ValueError, match=r"prior must be a chain of links .* got Bumps"):
        ask(Bumps(), tmp_path)


@pytest.mark.parametrize("agent_id", [*FITTED, *RESTS])
def test_agents_that_need_no_chain_play_any_prior(agent_id):
    """Fitted ones have the prior's moments, of 10 000 draws that share nothing: variance 1 + 1/16; |z| < 4.5."""
    settings = {"num_components": 2} if agent_id == "MixTS" else {}
    agent = make_agent(agent_id, problem(Bumps()), seed=0, **settings)
    x = np.array([1.0, 0.0])
    if agent_id in FITTED:
        mean, std = agent.marginals(x)
        variance = 1 + 1 / 16
        assert np.abs(mean).max() < 4.5 * np.sqrt(variance / 10_000)
        fourth = 1 + 6 / 16 + 3 / 16**2
        assert np.abs(std**2 - variance).max() < 4.5 * np.sqrt((fourth - variance**2) / 10_000)
    agent.update(x, agent.act(x), 0.3)


def test_a_prior_that_is_no_chain_passes_the_check_unless_its_draws_are_wrong():
    check_prior(Bumps())
    assert as_linear(Bumps()) is None
    assert prior_report(Bumps(), Bumps().sample(np.random.default_rng(5), 200), num_draws=300).energy.z_score < 50
    with pytest.raises(ValueError, match="prior_error must be 0 for a prior whose links are not affine"):
        misspecified_prior(Bumps(), 0.5)
    for sample, message in (
        (lambda self, rng, K: np.zeros((K, 3)), r"sample must return shape \(3, 2\) for 3 actions, got \(3, 3\)"),
        (lambda self, rng, K: np.full((K, 2), np.nan), "sample must return finite parameters"),
        (lambda self, rng, K: np.random.default_rng().random((K, 2)), "sample must depend on its generator alone"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_prior(type("Wrong", (Bumps,), {"sample": sample})())
    saved = type("Saved", (Bumps,), {"state": lambda self: LinearDiffusionPrior([], [np.eye(2)]).state()})()
    with pytest.raises(AssertionError, match="must draw the same under the same seed"):
        check_prior(saved)


def test_sample_and_state_must_be_defined_and_no_more():
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Prior,), {"dim": 2, "state": lambda self: ({}, {})})()
    with pytest.raises(TypeError, match="abstract"):
        type("Stateless", (Prior,), {"with_branch": lambda self, branch: self})()
