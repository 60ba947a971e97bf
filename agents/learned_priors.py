"""Agents with priors fitted to past parameters, to compare dTS with: TunedTS, TunedUCB, MixTS, MixUCB, LaplaceDPS."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self, get_args

import numpy as np

from dts_gym.agents.inputs import checked_problem
from dts_gym.agents.posterior_agents import P, PosteriorAgent
from dts_gym.agents.score_agents import ThompsonSampling, UpperConfidence
from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.exploration import Setting
from dts_gym.posteriors.glm.glm_posterior import posterior_under
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.interface import BoundedPosterior, ConfidencePosterior, Posterior
from dts_gym.posteriors.laplace_posterior import LaplacePosterior, alpha_bars_of
from dts_gym.posteriors.marginals import NormalLaws
from dts_gym.posteriors.mixture_posterior import MixturePosterior
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior, posterior_for
from dts_gym.priors.fitting import fit_gaussian, prior_draws
from dts_gym.priors.mixtures import Mixture, checked_mixture, fit_mixture
from dts_gym.priors.outliers import outlier_warning, outliers
from dts_gym.priors.prior import as_chain_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import Seed
from dts_gym.utils.validation import MOST, choice, integer


class FittedPriorAgent(PosteriorAgent[P]):
    """Independent actions, each with a prior that was fitted to past parameters; subclasses define which.

    Parameters
    ----------
    problem, seed : as for every agent.
    horizon : number of rewards that a rule plans for; None uses the run's number, else the problem's.
    exploration : scale of the posterior standard deviations, or a rule for it; None: 1 where the agent draws, the
        Bayesian answer, and where it uses upper bounds the rule "horizon", or "max" if the number of
        rounds is unknown.
    noise_std : assume Gaussian rewards of this standard deviation instead of the problem's rewards; None assumes the
        problem's.
    expansion : point at which evidence of rewards that are not Gaussian is expanded: "map", "mle" or "online".
    """

    _expands = True

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed,
        exploration: Setting | None,
        horizon: int | None,
        contexts: Array | None,
        tuning_rounds: int | None,
        noise_std: float | None,
        expansion: Mode,
        **settings: Any,
    ) -> None:
        self._expansion: Mode = choice("expansion", expansion, get_args(Mode))
        super().__init__(
            problem,
            seed=seed,
            exploration=self.default_exploration if exploration is None else exploration,
            horizon=horizon,
            contexts=contexts,
            tuning_rounds=tuning_rounds,
            noise_std=noise_std,
            expansion=expansion,
            **settings,
        )


class GaussianPriorAgent(FittedPriorAgent[ConfidencePosterior]):
    """Independent actions with a Gaussian prior that was fitted to past parameters; subclasses define how to choose.

    The parameters are those of `FittedPriorAgent`. The prior has the mean and covariance of `problem.past_parameters`,
    else of 10 000 draws of the problem's prior. Past parameters that lie more than 8 standard deviations of the others
    from them are left out, with a UserWarning, where they are a twentieth at most.

    Notes
    -----
    The posterior is exact for Gaussian rewards; for others it is a quadratic expansion.
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting | None = None,
        horizon: int | None = None,
        contexts: Array | None = None,
        tuning_rounds: int | None = None,
        noise_std: float | None = None,
        expansion: Mode = "map",
    ) -> None:
        past = past_parameters(problem)
        out = outliers(past) if problem.past_parameters is not None else np.zeros(len(past), dtype=bool)
        self._prior = fit_gaussian(past[~out])
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            horizon=horizon,
            contexts=contexts,
            tuning_rounds=tuning_rounds,
            noise_std=noise_std,
            expansion=expansion,
        )
        if out.any():
            self.warn(outlier_warning("past_parameters", out), stacklevel=2)

    def _prior_moments(self) -> tuple[Array, Array]:
        return self._prior.marginal()

    def _make_posterior(self) -> ConfidencePosterior:
        return posterior_for(self.problem, self._make_engine)

    def _make_engine(self, num_actions: int) -> ActionPosterior:
        return posterior_under(self.reward_model, self._prior, num_actions, self._expansion)


class TunedTS(ThompsonSampling[ConfidencePosterior], GaussianPriorAgent):
    """Thompson sampling with a Gaussian prior fitted to past parameters: LinTS with that prior, or GLM-TS.

    The parameters are those of `GaussianPriorAgent`.
    """


class TunedUCB(UpperConfidence[ConfidencePosterior], GaussianPriorAgent):
    """Upper confidence bounds with a Gaussian prior fitted to past parameters: LinUCB with that prior, or UCB-GLM.

    The parameters are those of `GaussianPriorAgent`. The bounds fall over the horizon as those of dUCB.
    """

    default_exploration = None


class MixturePriorAgent(FittedPriorAgent[BoundedPosterior]):
    """Independent actions with a mixture of Gaussians as prior, fitted to the past; subclasses define how to choose.

    Parameters
    ----------
    problem, seed, exploration, horizon, noise_std, expansion : as in `FittedPriorAgent`; exploration scales the
        components' standard deviations and leaves their weights.
    num_components : number of the mixture's components; None chooses it by the Bayesian information criterion, up to
        10.
    mixture : the prior itself; None fits one to `problem.past_parameters`, else to 10 000 draws of the problem's prior.

    Notes
    -----
    Exact for Gaussian rewards, given the mixture: every action (or the shared parameter) has a mixture posterior of its
    own. The fit needs some seconds for 10 000 vectors, once for all agents of a process; it does not depend on the
    seed. A saved agent keeps the fitted mixture.
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting | None = None,
        horizon: int | None = None,
        contexts: Array | None = None,
        tuning_rounds: int | None = None,
        noise_std: float | None = None,
        expansion: Mode = "map",
        num_components: int | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        if mixture is None:
            self.mixture = _fitted(past_parameters(problem), num_components)
        else:
            self.mixture = checked_mixture(mixture, checked_problem(problem).dim)
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            horizon=horizon,
            contexts=contexts,
            tuning_rounds=tuning_rounds,
            noise_std=noise_std,
            expansion=expansion,
            num_components=num_components,
        )

    @classmethod
    def _rebuild(cls, problem: BanditProblem, settings: Mapping[str, Any], state: Mapping[str, Any]) -> Self:
        mixture = Mixture(*(state[f"prior.{name}"] for name in Mixture._fields))
        return cls(problem, seed=0, mixture=mixture, **settings)

    def _prior_moments(self) -> tuple[Array, Array]:
        return self.mixture.moments()

    def _make_posterior(self) -> BoundedPosterior:
        K, model = self.problem.num_actions, self.reward_model
        if self.problem.features == "disjoint":
            return MixturePosterior(self.mixture, K, model, self._expansion)
        return SharedParameterPosterior(MixturePosterior(self.mixture, 1, model, self._expansion))


class MixTS(ThompsonSampling[BoundedPosterior], MixturePriorAgent):
    """Thompson sampling with a mixture of Gaussians as prior, fitted to past parameters.

    The parameters are those of `MixturePriorAgent`.

    Source: Hong et al., "Thompson Sampling with a Mixture Prior" (2022), as Kveton et al. (2024) compare it.
    """


class MixUCB(UpperConfidence[BoundedPosterior], MixturePriorAgent):
    """Upper confidence bounds with a mixture of Gaussians as prior, fitted to past parameters.

    The parameters are those of `MixturePriorAgent`. The bounds fall over the horizon as those of dUCB.

    Notes
    -----
    The bound of an action is the posterior quantile of ``x' theta_a`` that is exceeded as rarely as ``exploration``
    standard deviations are by a normal number: the mean plus that many deviations would lie beyond all components
    where these are far apart. On a Swiss roll in the plane (100 actions, 500 rounds, 40 runs) quantiles have 169 +- 5
    regret, the mean plus deviations 230 +- 3.
    """

    default_exploration = None

    def _bounds(self, laws: NormalLaws) -> Array:
        return laws.upper_bound(self.exploration_scale)


class LaplaceDPS(ThompsonSampling[Posterior], FittedPriorAgent[Posterior]):
    """Diffusion posterior sampling in which the evidence acts on every level as if it were the action's parameter.

    Parameters
    ----------
    problem : a problem with a denoising diffusion prior, as `dts_gym.pretraining` trains; else ValueError.
    seed, exploration, noise_std, expansion : as in `FittedPriorAgent`.
    pool_size : number of prior draws that represent the unplayed actions of a round; exact up to that many unplayed
        actions.

    Notes
    -----
    Approximate, see `dts_gym.posteriors.laplace_posterior`. Actions are independent chains, whatever the prior's
    branch; with shared features there is one.

    Source: Kveton et al., "Online Posterior Sampling with a Diffusion Prior" (2024).
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting | None = None,
        horizon: int | None = None,
        contexts: Array | None = None,
        tuning_rounds: int | None = None,
        noise_std: float | None = None,
        expansion: Mode = "map",
        pool_size: int = 10_000,
    ) -> None:
        try:
            self._chain = as_chain_prior(checked_problem(problem).prior)
            alpha_bars_of(self._chain)
        except ValueError as error:
            raise ValueError(f"problem must have a denoising diffusion prior for LaplaceDPS: {error}") from error
        self._pool_size = integer("pool_size", pool_size, 1, most=MOST)
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            horizon=horizon,
            contexts=contexts,
            tuning_rounds=tuning_rounds,
            noise_std=noise_std,
            expansion=expansion,
            pool_size=self._pool_size,
        )

    def _make_posterior(self) -> Posterior:
        prior, K, model, pool = self._chain, self.problem.num_actions, self.reward_model, self._pool_size
        if self.problem.features == "disjoint":
            return LaplacePosterior(prior, K, model, self._expansion, pool_size=pool)
        return SharedParameterPosterior(LaplacePosterior(prior, 1, model, self._expansion))


def past_parameters(problem: BanditProblem) -> Array:
    """The problem's past parameters, (N, d), or 10 000 draws of its prior under a fixed seed where it has none."""
    past = checked_problem(problem).past_parameters
    return prior_draws(problem.prior) if past is None else past


def _fitted(parameters: Array, num_components: int | None) -> Mixture:
    N, d = parameters.shape
    # Hashable, for the cache.
    count = None if num_components is None else integer("num_components", num_components, 1, N)
    return _fitted_once(parameters.tobytes(), (N, d), count)


@lru_cache(maxsize=8)
def _fitted_once(data: bytes, shape: tuple[int, int], num_components: int | None) -> Mixture:
    """Fit once and keep the result: experiments make many agents with the same past parameters."""
    return fit_mixture(np.frombuffer(data).reshape(shape), num_components)
