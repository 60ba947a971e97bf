"""Priors over the parameters of actions: chains of links with Gaussian noise, and what they are made of.

Read `links` first (one step of a chain), `prior` (what any prior is, and what a chain is), then `chains` (the priors
that users meet). `denoisers` and
`reverse_process` make a chain of a denoising diffusion model, `two_level` collapses a linear chain, `random_priors`
draws chains for experiments, `misspecified` spoils one on purpose. `fitting` and `mixtures` fit a normal distribution,
a linear chain or a mixture to parameter vectors. `prior_files` is how a prior is kept in a file.
"""

from dts_gym.priors.chains import (
    DiffusionPrior,
    LinearDiffusionPrior,
    as_linear,
    as_prior,
    load_prior,
    prior_from_state,
)
from dts_gym.priors.prior import ChainPrior, Prior, as_chain_prior

__all__ = [
    "ChainPrior",
    "DiffusionPrior",
    "LinearDiffusionPrior",
    "Prior",
    "as_chain_prior",
    "as_linear",
    "as_prior",
    "load_prior",
    "prior_from_state",
]
