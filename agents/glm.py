"""Agents for rewards of generalised linear models: independent actions, a quadratic expansion at each one's MAP."""

from __future__ import annotations

from typing import get_args

from dts_gym.agents.inputs import independent_moments, independent_prior
from dts_gym.agents.posterior_agents import PosteriorAgent
from dts_gym.agents.score_agents import ThompsonSampling, UpperConfidence
from dts_gym.posteriors.exploration import Setting
from dts_gym.posteriors.glm.glm_posterior import posterior_under
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.interface import ConfidencePosterior
from dts_gym.posteriors.mixed_effects.glm_posterior import mixed_effect_posterior
from dts_gym.posteriors.shared_parameter import posterior_for
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import Seed
from dts_gym.utils.validation import choice


class GLMAgent(PosteriorAgent[ConfidencePosterior]):
    """Independent actions under rewards of mean ``g(x' theta_a)``; subclasses define how to choose.

    Parameters
    ----------
    problem, seed : as for every agent; the problem's prior is not used.
    exploration : scale of the posterior standard deviation; 1 is the Bayesian answer.
    prior_mean : (d,) mean of every action's prior, or (K, d), one for each action; zeros if None.
    prior_cov : (d, d) PSD covariance of every action's prior, the identity if None.
    intercept : whether every context gets a trailing 1, as in `LinTS`.
    expansion : point at which the evidence is expanded, see `dts_gym.posteriors.glm.glm_table.GLMTable`.
    """

    _expands = True

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting = 1.0,
        horizon: int | None = None,
        contexts: Array | None = None,
        tuning_rounds: int | None = None,
        prior_mean: Array | None = None,
        prior_cov: Array | None = None,
        intercept: bool = False,
        expansion: Mode = "map",
    ) -> None:
        self._prior, given = independent_prior(problem, prior_mean, prior_cov, intercept)
        self._intercept = bool(given["intercept"])
        self._expansion: Mode = choice("expansion", expansion, get_args(Mode))
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            horizon=horizon,
            contexts=contexts,
            tuning_rounds=tuning_rounds,
            noise_std=None,
            expansion=expansion,
            **given,
        )

    def _prior_moments(self) -> tuple[Array, Array]:
        return independent_moments(self._prior)

    def _make_posterior(self) -> ConfidencePosterior:
        prior, model = self._prior, self.reward_model
        if isinstance(prior, MixedEffectPrior):
            return mixed_effect_posterior(prior, model, self._expansion)
        return posterior_for(self.problem, lambda K: posterior_under(model, prior, K, self._expansion))


class GLMTS(ThompsonSampling[ConfidencePosterior], GLMAgent):
    """Thompson sampling for generalised linear rewards (GLM-TS): a draw from each action's Laplace approximation.

    The parameters are those of `GLMAgent`. Approximate, except for Gaussian rewards.

    Source: Chapelle and Li, "An Empirical Evaluation of Thompson Sampling" (2011).
    """


class UCBGLM(UpperConfidence[ConfidencePosterior], GLMAgent):
    """Upper confidence bounds for generalised linear rewards (UCB-GLM), on the scale of ``x' theta``.

    The parameters are those of `GLMAgent`.

    Source: Li, Lu and Zhou, "Provably Optimal Algorithms for Generalized Linear Contextual Bandits" (2017).
    """
