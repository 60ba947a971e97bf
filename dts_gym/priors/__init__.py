"""Priors over the parameters of actions: chains of links with Gaussian noise, and their parts.

Read `links` first (one step of a chain), `prior` (the base classes of all priors and of chains), then `chains` and
`mixed_effects` (the priors that users construct; the second knows the actions one by one, and so does `offsets`, known
means around a chain). `features` fits a prior to past items with features, by way of `feature_map` (features as mixing
weights) and `feature_fit` (the marginal likelihood). `denoisers` (their networks by way of `denoiser_layers`) and
`reverse_process` make a chain from a denoising diffusion model, `two_level` collapses a linear chain, `random_priors`
draws chains for experiments, `misspecified` makes a chain wrong on purpose. `fitting` and `mixtures` fit a normal
distribution, a linear chain or a mixture to parameter vectors; `outliers` are vectors that a fit leaves out.
`prior_files` saves a prior to a file, and `link_stacks` makes one link of the links of many runs.
"""

from dts_gym.priors.chains import (
    DiffusionPrior,
    LinearDiffusionPrior,
    as_linear,
    as_prior,
    load_prior,
    prior_from_state,
)
from dts_gym.priors.features import FeaturePrior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import ChainPrior, Prior, as_chain_prior

__all__ = [
    "ChainPrior",
    "DiffusionPrior",
    "FeaturePrior",
    "LinearDiffusionPrior",
    "MixedEffectPrior",
    "OffsetPrior",
    "Prior",
    "as_chain_prior",
    "as_linear",
    "as_prior",
    "load_prior",
    "prior_from_state",
]
