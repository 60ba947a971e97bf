"""The exact posterior of mixed effects under Gaussian rewards."""

from __future__ import annotations

from dts_gym.posteriors.mixed_effects.choices import MixedEffectChoices
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.utils.arrays import Array


class MixedEffectPosterior(MixedEffectChoices):
    """Posterior of all actions' parameters under mixed effects and Gaussian rewards, and the actions that it picks.

    Parameters
    ----------
    prior : the distribution of effects and actions.
    noise_std : standard deviation of the rewards.

    Notes
    -----
    Exact. An update costs O(d^2 + q^2). Rewards may outweigh the prior by 1e20 in precision before
    rounding shows: then a UserWarning says so.
    """

    def __init__(self, prior: MixedEffectPrior, noise_std: float) -> None:
        super().__init__(prior)
        self.noise_std = noise_std

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        self._observe(context, action, reward, self.noise_std**2)

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean, which shrinks deviations and moves no mean. Exact."""
        self.update(context, action, self._mean(context, action))
