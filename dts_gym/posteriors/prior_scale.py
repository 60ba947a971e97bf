"""How probable the rewards seen are under a prior, and under the prior with its variance multiplied by a number."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence, through_noise
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array

# Factors that are tried: 2^-6 to 2^6, four in an octave.
SCALES = 2.0 ** (np.arange(-24, 25) / 4)
# Before rewards are seen, a factor is believed to be log-normal around 1 with this deviation: a few move it little.
_DOUBT = math.log(4.0)


class ScaleGauge(NamedTuple):
    """What rewards say of the prior's variance.

    Attributes
    ----------
    scale : the factor on the variance under which the rewards are most probable.
    surprise : logarithm of how many times more probable they are under it than under the prior as it is, in nats.
    """

    scale: float
    surprise: float


def log_marginal(prior: TwoLevelPrior, evidence: Evidence, scales: Array) -> Array:
    """Logarithm of the rewards' marginal likelihood under each factor on the prior's variance, less that of factor 0.

    Parameters
    ----------
    prior : ``(m0, C, S)``; its mean is not read.
    evidence : of the P played actions, (P, d, d) and (P, d), about their parameters less ``m0``.
    scales : (n,) factors.

    Returns
    -------
    (n,)

    Notes
    -----
    Exact for Gaussian rewards; for others the rewards' expansion stands for them. Each action's part is integrated
    out, then the shared one:
    ``int N(v; 0, V) exp(-v'Gv/2 + h'v) dv = det(I + G V)^(-1/2) exp(h' V (I + G V)^-1 h / 2)``.
    O(n P d^3).
    """
    found = np.empty(len(scales))
    for i, scale in enumerate(scales.tolist()):
        value, message = _integrated(evidence, scale * prior.action_cov)
        total = Evidence(message.G.sum(axis=0), message.h.sum(axis=0))
        found[i] = value.sum() + _integrated(total, scale * prior.shared_cov)[0]
    return found


def gauge(prior: TwoLevelPrior, evidence: Evidence) -> ScaleGauge:
    """The factor on the prior's variance under which rewards are most probable, among 49 from 1/64 to 64."""
    logs = log_marginal(prior, evidence, SCALES)
    own = len(SCALES) // 2  # the factor 1, which stays where nothing was seen
    best = int(logs.argmax()) if logs.max() > logs[own] else own
    return ScaleGauge(float(SCALES[best]), float(logs[best] - logs[own]))


def believed_scale(prior: TwoLevelPrior, evidence: Evidence) -> float:
    """The most probable factor on the prior's variance, where factors near 1 are more probable before rewards."""
    logs = log_marginal(prior, evidence, SCALES) - 0.5 * (np.log(SCALES) / _DOUBT) ** 2
    return float(SCALES[int(logs.argmax())])


def _integrated(evidence: Evidence, cov: Array) -> tuple[Array, Evidence]:
    """Log of the integral over nodes of covariance ``cov``, (...), and the evidence that is left on their means."""
    message = through_noise(evidence.G, evidence.h, cov)
    _, log_det = np.linalg.slogdet(np.eye(cov.shape[-1]) + evidence.G @ cov)
    quadratic = np.einsum("...i,ij,...j->...", evidence.h, cov, message.h)
    return np.asarray(0.5 * (quadratic - log_det)), message
