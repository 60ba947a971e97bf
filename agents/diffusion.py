"""Agents with the diffusion prior's posterior: dTS draws from it, dUCB takes its upper confidence bounds."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from dts_gym.agents.inputs import checked_problem, disjoint_dtype, linear_chain
from dts_gym.agents.posterior_agents import PosteriorAgent, ThompsonSampling, UpperConfidence
from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Dtype
from dts_gym.posteriors.chain.branched_levels import Pool, checked_pool
from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior, Surrogate
from dts_gym.posteriors.chain.surrogates import default_surrogate
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.interface import ConfidencePosterior
from dts_gym.posteriors.linear_chain import downward, upward
from dts_gym.posteriors.mcmc.slice_posterior import SlicePosterior
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior, posterior_for
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.seeding import Seed
from dts_gym.utils.validation import integer

Approximation = Literal["particles", "linearised", "deck", "slice"]


class ChainAgent(PosteriorAgent[ConfidencePosterior]):
    """An agent with the posterior of the problem's chain; subclasses say how to choose by it.

    Parameters
    ----------
    problem : of any chain.
    seed : of all random choices; None takes fresh entropy.
    exploration : scale of the posterior; 1 is the Bayesian answer.
    branch : levels above it are shared by all actions, 0..L; None takes the prior's own.
    noise_std : believe in Gaussian rewards of this standard deviation, whatever the problem says; None believes the
        problem.
    approximation : of chains whose links are not affine: "particles" (None there), "linearised" (one particle),
        "deck" (the deck's rule) or "slice" (Markov chains: slow, what the others are held against; branch 0). None for
        a linear chain is its closed form.
    num_particles : of "particles", 32 if None; of "slice" its Markov chains. No other approximation takes it.
    num_steps : of "slice" alone, after each reward and for each draw, 10 if None.
    surrogate : affine stand-ins for the links in the messages: "jacobian" or "statistical"; None takes the one that
        serves the prior's links, "statistical" for denoisers, else "jacobian".
    expansion : point at which evidence of rewards that are not Gaussian is expanded: "map", "mle" or "online".
    pool_size : with a chain by approximation and a branch above 0, draws of the prior that stand for the unplayed
        actions of a round; exact up to that many of them.
    pool : "fresh", drawn anew each round; or "kept", drawn once and dealt anew each round: with many actions a good
        deal faster, and as near to the prior as a sample of that size. At branch L only.
    dtype : of the matrices that choices read: "float64", or "float32", nearly twice as fast where many actions are
        played and off by single precision of each action's own standard deviation; all else stays in float64. With
        linear chains in closed form, Gaussian rewards and a parameter an action only.
    """

    _expands = True

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: float = 1.0,
        branch: int | None = None,
        noise_std: float | None = None,
        approximation: Approximation | None = None,
        num_particles: int | None = None,
        num_steps: int | None = None,
        surrogate: Surrogate | None = None,
        expansion: Mode = "map",
        pool_size: int = 10_000,
        pool: Pool = "fresh",
        dtype: Dtype = "float64",
    ) -> None:
        prior = checked_problem(problem).prior
        self.branch = prior.branch if branch is None else integer("branch", branch, 0, prior.depth)
        for name, value, choices in (
            ("approximation", approximation, get_args(Approximation)),
            ("surrogate", surrogate, ("jacobian", "statistical")),
        ):
            if value is not None and value not in choices:
                raise ValueError(f"{name} must be one of {choices} or None, got {value!r}")
        if expansion not in get_args(Mode):
            raise ValueError(f"expansion must be one of {get_args(Mode)}, got {expansion!r}")
        self._exact_chain = approximation is None and as_linear(prior) is not None
        self.approximation: Approximation | None = (
            None if self._exact_chain else "particles" if approximation is None else approximation
        )
        # A linear chain in closed form ignores what approximations need: one prior can then be swapped for another.
        for name, given, ignored_by in (
            ("num_particles", num_particles, ("linearised", "deck")),
            ("num_steps", num_steps, ("particles", "linearised", "deck")),
            ("surrogate", surrogate, ("deck", "slice")),
        ):
            if given is not None and approximation in ignored_by:
                raise ValueError(f"{name} must be left out with approximation {approximation!r}, got {given!r}")
        self.num_particles = 32 if num_particles is None else integer("num_particles", num_particles, 1)
        self._num_steps = 10 if num_steps is None else integer("num_steps", num_steps, 1)
        if approximation == "slice" and self.branch != 0:
            raise ValueError(f"branch must be 0 for approximation 'slice', got {self.branch}")
        self._surrogate: Surrogate = "deck" if approximation == "deck" else surrogate or default_surrogate(prior)
        self._expansion: Mode = expansion
        self._pool_size = integer("pool_size", pool_size, 1)
        self._pool = checked_pool(pool, self.branch, prior.depth)
        self._dtype = disjoint_dtype(problem, dtype)
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            noise_std=noise_std,
            branch=branch,
            approximation=approximation,
            num_particles=num_particles,
            num_steps=num_steps,
            surrogate=surrogate,
            expansion=expansion,
            pool_size=pool_size,
            pool=pool,
            dtype=dtype,
        )

    @property
    def diagnostics(self) -> dict[str, float]:
        """What the last choice was like.

        With a chain by approximation, ``effective_sample_size``: of the particles, relative to their number, the least
        over the levels; a small one says that the surrogates stand in badly, a large one alone says nothing of modes
        that no particle visits.
        """
        engine = self._engine
        if isinstance(engine, ChainPosterior | BranchedPosterior):
            return {"effective_sample_size": engine.effective_sample_size}
        return {}

    @property
    def _engine(self) -> ActionPosterior | BranchedPosterior:
        """The posterior of the actions, or of the one that stands for all where they share a parameter."""
        posterior = self._posterior.engine if isinstance(self._posterior, SharedParameterPosterior) else self._posterior
        assert isinstance(posterior, ActionPosterior | BranchedPosterior)
        return posterior

    def sample_chain(self) -> list[Array]:
        """One posterior draw of every level: entry ``ell`` is ``psi_ell``, (1, d) above the branch, else (K, d).

        K is 1 where all actions share a parameter. For linear chains, exact given the evidence; entry 0 has the law of
        `sample_parameters`. O(L d^3) above the branch and O(K d^3) a level below.
        """
        chain = linear_chain(type(self).__name__, self.problem)
        K, d, tempering = self._engine.num_actions, self.problem.dim, self.exploration**2
        table = self._engine.table
        G, h = np.zeros((K, d, d)), np.zeros((K, d))
        G_played, h_played = table.evidence()  # of parameters centred by the chain's mean
        center = chain.two_level(self.branch).mean if self._exact_chain else np.zeros(d)
        G[table.actions] = G_played / tempering
        h[table.actions] = (h_played + G_played @ center) / tempering
        tempered = LinearDiffusionPrior(chain.weights, [cov * tempering for cov in chain.covariances], chain.offsets)
        levels = upward(tempered, Evidence(G, h), self.branch)
        return downward(tempered, levels, K, self.branch, self._rngs["parameters"])

    def _make_posterior(self) -> ConfidencePosterior:
        if self._dtype != "float64" and not (self._exact_chain and isinstance(self.reward_model, GaussianReward)):
            raise ValueError(
                "dtype must be 'float64' but for linear chains in closed form and Gaussian rewards, "
                f"got {self._dtype!r}"
            )
        # A shared parameter is one chain, whatever the branch.
        if self.branch and not self._exact_chain and self.problem.features == "disjoint":
            K, prior, model = self.problem.num_actions, self.problem.prior, self.reward_model
            settings = self._chain_settings
            settings |= {"pool_size": self._pool_size, "pool": self._pool}
            return BranchedPosterior(prior, K, model, branch=self.branch, **settings)
        return posterior_for(self.problem, self._make_engine)

    @property
    def _chain_settings(self) -> dict[str, Any]:
        """What a posterior by approximation is made with."""
        P = self.num_particles if self.approximation == "particles" else 1
        return {"num_particles": P, "surrogate": self._surrogate, "expansion": self._expansion}

    def _make_engine(self, num_actions: int) -> ActionPosterior:
        prior, K, model = self.problem.prior, num_actions, self.reward_model
        if self.approximation == "slice":
            return SlicePosterior(
                prior,
                K,
                model,
                num_walkers=self.num_particles,
                num_steps=self._num_steps,
                expansion=self._expansion,
                scale=self.exploration,
                seed=int(self._rngs["posterior"].integers(1 << 62)),
            )
        if not self._exact_chain:
            return ChainPosterior(prior, K, model, **self._chain_settings)
        two_level = linear_chain(type(self).__name__, self.problem).two_level(self.branch)
        if isinstance(model, GaussianReward):
            return TwoLevelPosterior(two_level, K, model.noise_std, dtype=self._dtype)
        return GLMPosterior(two_level, K, model, self._expansion)


class DiffusionTS(ThompsonSampling[ConfidencePosterior], ChainAgent):
    """Diffusion Thompson sampling (dTS): a posterior draw under the chain prior, then its best action.

    Parameters as `ChainAgent`.

    Notes
    -----
    Exact for linear chains and Gaussian rewards: a round costs one pass over the played actions' packed matrices,
    whatever K and L. Rewards of other families enter by a quadratic expansion, links that are not affine by particles.

    Source: Aouali, "Diffusion Models Meet Contextual Bandits".

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5, dim=3)
    >>> agent = dts_gym.agents.DiffusionTS(env.unwrapped.problem, seed=0)
    >>> agent.update([0.1, 0.2, 0.3], 2, 1.5)
    >>> agent.num_updates
    1
    """

    def _choose_to_play(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        if isinstance(self._posterior, BranchedPosterior):
            return self._posterior.thompson(contexts, rng, self.exploration, mask, from_clouds=True)
        return self._choose(contexts, rng, mask)


class DiffusionUCB(UpperConfidence, ChainAgent):
    """Upper confidence bounds on the posterior of dTS: the mean plus one tempered standard deviation.

    Parameters as `ChainAgent`. Cost of a choice: O(P d^2) more than dTS with P played actions.
    """
