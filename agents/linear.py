"""Agents with an exact Gaussian posterior: they share one engine and differ in the prior and in how they choose."""

from __future__ import annotations

from dts_gym.agents.inputs import disjoint_dtype, disjoint_problem, independent_moments, independent_prior, linear_chain
from dts_gym.agents.posterior_agents import PosteriorAgent, ThompsonSampling, UpperConfidence
from dts_gym.posteriors.action_table import Dtype, checked_dtype
from dts_gym.posteriors.exploration import Setting
from dts_gym.posteriors.interface import ConfidencePosterior
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.mixed_effect_posterior import MixedEffectPosterior
from dts_gym.posteriors.shared_parameter import posterior_for
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import as_linear
from dts_gym.priors.fitting import fit_gaussian, prior_draws
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import Seed


class _ReducedChainTS(ThompsonSampling[TwoLevelPosterior]):
    """Thompson sampling with the problem's chain after some of its levels are marginalised out."""

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting = 1.0,
        horizon: int | None = None,
        noise_std: float | None = None,
        dtype: Dtype = "float64",
    ) -> None:
        self._dtype = checked_dtype(dtype)
        super().__init__(problem, seed=seed, exploration=exploration, horizon=horizon, noise_std=noise_std, dtype=dtype)


class HierTS(_ReducedChainTS):
    """Hierarchical Thompson sampling: keeps the top level shared, marginalises the others (branch L - 1).

    The parameters and the cost are those of `DiffusionTS`. Exact for the model in which only ``psi_L`` is shared.

    Source: Hong et al., "Hierarchical Bayesian Bandits" (2022), on the chain as the deck compares it.
    """

    def _make_posterior(self) -> TwoLevelPosterior:
        disjoint_problem(type(self).__name__, self.problem)
        return _chain_posterior(self, max(linear_chain(type(self).__name__, self.problem).depth - 1, 0), self._dtype)


class MarginalLinTS(_ReducedChainTS):
    """Linear Thompson sampling with the chain's marginal as every action's prior (branch L): no sharing.

    The parameters and the cost are those of `DiffusionTS`. Exact for the model in which actions are independent and the
    chain is linear; for another prior it uses the mean and covariance of the marginal, estimated from 10 000 draws.
    """

    def _make_posterior(self) -> TwoLevelPosterior:
        prior = disjoint_problem(type(self).__name__, self.problem).prior
        chain = as_linear(prior)
        if chain is not None:
            return _chain_posterior(self, chain.depth, self._dtype)
        fitted = fit_gaussian(prior_draws(prior))
        return TwoLevelPosterior(fitted, self.problem.num_actions, self.noise_std, dtype=self._dtype)


class LinearAgent(PosteriorAgent[ConfidencePosterior]):
    """Independent actions under Gaussian rewards, each with the prior ``N(prior_mean, prior_cov)``; exact.

    Subclasses define how to choose.

    Parameters
    ----------
    problem, seed, exploration, noise_std, dtype : as in `DiffusionTS`; the problem's own prior is not used.
    prior_mean : (d,) mean of every action's prior, or (K, d), one for each action; zeros if None.
    prior_cov : (d, d) PSD covariance of every action's prior, the identity if None.
    intercept : whether every context gets a trailing 1: an action's mean reward is then ``x' theta + c``; the prior,
        `sample_parameters` and `moments` then have d + 1 numbers, of which ``c`` is the last.
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting = 1.0,
        horizon: int | None = None,
        prior_mean: Array | None = None,
        prior_cov: Array | None = None,
        intercept: bool = False,
        noise_std: float | None = None,
        dtype: Dtype = "float64",
    ) -> None:
        self._prior, given = independent_prior(problem, prior_mean, prior_cov, intercept)
        self._intercept = bool(given["intercept"])
        self._dtype = disjoint_dtype(problem, dtype)
        if isinstance(self._prior, MixedEffectPrior) and self._dtype != "float64":
            raise ValueError(f"dtype must be 'float64' with a prior_mean for each action, got {dtype!r}")
        super().__init__(
            problem, seed=seed, exploration=exploration, horizon=horizon, noise_std=noise_std, dtype=dtype, **given
        )

    def _prior_moments(self) -> tuple[Array, Array]:
        return independent_moments(self._prior)

    def _make_posterior(self) -> ConfidencePosterior:
        prior = self._prior
        if isinstance(prior, MixedEffectPrior):
            return MixedEffectPosterior(prior, self.noise_std)
        return posterior_for(self.problem, lambda K: TwoLevelPosterior(prior, K, self.noise_std, dtype=self._dtype))


class LinTS(ThompsonSampling[ConfidencePosterior], LinearAgent):
    """Linear Thompson sampling: independent actions, each with the prior ``N(prior_mean, prior_cov)``.

    The parameters are those of `LinearAgent`.

    Notes
    -----
    Exact. Agrawal and Goyal's ``v`` is ``exploration * noise_std`` under a prior of covariance
    ``noise_std^2 I / lambda``.

    Source: Agrawal and Goyal, "Thompson Sampling for Contextual Bandits with Linear Payoffs" (2013).
    """


class LinUCB(UpperConfidence[ConfidencePosterior], LinearAgent):
    """Linear upper confidence bounds: the largest mean plus ``exploration`` posterior standard deviations.

    The parameters are those of `LinearAgent`. Unplayed actions are tied, and the tie is broken at random.

    Notes
    -----
    Exact. Li et al.'s ``alpha`` is ``exploration * noise_std`` under a prior of covariance
    ``noise_std^2 I / lambda``.

    Source: Li et al., "A Contextual-Bandit Approach to Personalized News Article Recommendation" (2010).
    """


class JointTS(ThompsonSampling[JointPosterior]):
    """Thompson sampling on the dense posterior of all actions: dTS's distribution, at the cost that dTS avoids.

    The parameters are those of `DiffusionTS`. Exact. O(n K d) an update and O(n K d) a draw, where n is how many
    numbers the unrolled chain draws (at least K d); for small K.
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting = 1.0,
        horizon: int | None = None,
        branch: int | None = None,
        noise_std: float | None = None,
    ) -> None:
        disjoint_problem(type(self).__name__, problem)
        chain = linear_chain(type(self).__name__, problem)
        self._chain = chain if branch is None else chain.with_branch(branch)
        super().__init__(
            problem, seed=seed, exploration=exploration, horizon=horizon, noise_std=noise_std, branch=branch
        )

    def _make_posterior(self) -> JointPosterior:
        return JointPosterior(self._chain, self.problem.num_actions, self.noise_std)


def _chain_posterior(agent: PosteriorAgent[TwoLevelPosterior], branch: int, dtype: Dtype) -> TwoLevelPosterior:
    chain = linear_chain(type(agent).__name__, agent.problem)
    return TwoLevelPosterior(chain.two_level(branch), agent.problem.num_actions, agent.noise_std, dtype=dtype)
