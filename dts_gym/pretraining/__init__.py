"""Learning a prior from data: parameter vectors, with or without errors, become a diffusion prior.

Read `learning` (`fit`, the whole procedure), `fit_settings` and `past_vectors` (its keywords and its data, checked),
`trainer` (the denoiser's training, with torch), `noisy_vectors` (the effect of the vectors' errors on
their moments), `branch_choice` (how much actions share), `prior_cache` (a cache of learned priors).
"""

from dts_gym.pretraining.fit_settings import Variance
from dts_gym.pretraining.learning import fit

__all__ = ["Variance", "fit"]
