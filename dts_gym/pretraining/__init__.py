"""Learning a prior from data: parameter vectors, with or without errors, become a diffusion prior.

Read `learning` (`fit`, the whole of it), `fit_settings` and `past_vectors` (its keywords and its data, checked),
`trainer` (the denoiser's training, with torch), `noisy_vectors` (what errors of the vectors do to their moments),
`robustness` (whether quantiles are right), `branch_choice` (how much actions share), `prior_cache`
(priors learned once and kept).
"""

from dts_gym.pretraining.fit_settings import Variance
from dts_gym.pretraining.learning import fit

__all__ = ["Variance", "fit"]
