"""Thompson sampling with mixed effects: every action mixes effects that all share, by known weights."""

from __future__ import annotations

from dts_gym.agents.inputs import disjoint_problem
from dts_gym.agents.score_agents import ThompsonSampling
from dts_gym.posteriors.exploration import Setting
from dts_gym.posteriors.interface import ConfidencePosterior
from dts_gym.posteriors.mixed_effects.glm_posterior import mixed_effect_posterior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.seeding import Seed


class MixedEffectTS(ThompsonSampling[ConfidencePosterior]):
    """Mixed-effect Thompson sampling (meTS): dTS where the prior is a `MixedEffectPrior` of known mixing weights.

    Parameters
    ----------
    problem : a problem with disjoint features whose prior is a `MixedEffectPrior` with mixing weights (K, J).
    seed, exploration, horizon, noise_std : as in `ChainAgent`.

    Notes
    -----
    Exact for Gaussian rewards; those of other families are expanded at each action's most probable parameters. dTS,
    dUCB, IDS and Greedy have the same posterior on such a problem, and also accept general maps (K, d, q).

    Source: Aouali et al., "Mixed-Effect Thompson Sampling" (2023).

    Examples
    --------
    >>> import dts_gym
    >>> prior = dts_gym.MixedEffectPrior([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], [[4.0, 0.0], [0.0, 1.0]], [[0.01]])
    >>> problem = dts_gym.BanditProblem(3, 1, prior, dts_gym.GaussianReward(0.1))
    >>> agent = dts_gym.make_agent("meTS", problem, seed=0)
    >>> agent.update([1.0], 0, 3.0)
    >>> agent.moments()[0].round(2).tolist()  # the second action has half of what was learned
    [[2.99], [1.49], [0.0]]
    """

    _expands = True

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        exploration: Setting = 1.0,
        horizon: int | None = None,
        noise_std: float | None = None,
    ) -> None:
        prior = disjoint_problem("meTS", problem).prior
        if not isinstance(prior, MixedEffectPrior) or not prior.is_by_weights:
            raise ValueError(f"problem must have a MixedEffectPrior of mixing weights (K, J) for meTS, got {prior!r}")
        super().__init__(problem, seed=seed, exploration=exploration, horizon=horizon, noise_std=noise_std)

    def _make_posterior(self) -> ConfidencePosterior:
        assert isinstance(self.problem.prior, MixedEffectPrior)
        return mixed_effect_posterior(self.problem.prior, self.reward_model, "map")
