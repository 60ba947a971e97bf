"""How probable the rewards seen are under a prior, and under the prior with its variance multiplied by a number."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array, factor

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
    """Logarithm of the rewards' marginal likelihood under each factor on the prior's variance, up to a constant.

    Parameters
    ----------
    prior : ``(m0, C, S)``; its mean is not read.
    evidence : of the P played actions, (P, d, d) and (P, d), about their parameters less ``m0``.
    scales : (n,) factors.

    Returns
    -------
    (n,)
        The constant is the same for all factors.

    Notes
    -----
    Exact for Gaussian rewards; for others the rewards' expansion stands for them. Evidence is written as observations
    ``f ~ N(F theta, I)`` with ``F'F = G`` and ``F'f = h``, in coordinates in which the action's part adds a variance of
    its own to each; what the shared part leaves is the residual of a QR. So nothing cancels, however much rewards
    outweigh the prior. Directions that are known 1e14 times worse than others (in variance, past the units of the
    coordinates) are left out. O(P d^3 + n P d^3).
    """
    F, f = _observations(evidence)
    vectors, values, _ = np.linalg.svd(F @ factor(prior.action_cov))
    spread = np.zeros(f.shape)  # (P, d), what an action's own part adds to the observations' variances
    spread[:, : values.shape[-1]] = values**2
    root, transposed = factor(prior.shared_cov), vectors.swapaxes(-1, -2)
    observed = np.concatenate([transposed @ F @ root, (transposed @ f[..., None])], axis=-1)  # (P, d, r + 1)
    r = root.shape[1]
    found = np.empty(len(scales))
    for i, scale in enumerate(scales.tolist()):
        variances = 1.0 + scale * spread
        rows = (observed / np.sqrt(variances)[..., None]).reshape(-1, r + 1)
        rows[:, :r] *= math.sqrt(scale)
        R = np.asarray(np.linalg.qr(np.vstack([rows, np.eye(r, r + 1), np.zeros((1, r + 1))]), mode="r"))
        found[i] = -0.5 * (np.log(variances).sum() + R[r, r] ** 2) - np.log(np.abs(np.diagonal(R)[:r])).sum()
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


def _observations(evidence: Evidence) -> tuple[Array, Array]:
    """``F`` (P, d, d) and ``f`` (P, d) with ``F'F = G`` and ``F'f = h``: rows of zeros where nothing is known."""
    G, h = evidence
    size = np.sqrt(np.diagonal(G, axis1=-2, axis2=-1))
    unit = np.where(size > 0.0, size, 1.0)
    values, vectors = np.linalg.eigh(G / (unit[..., :, None] * unit[..., None, :]))
    roots = np.sqrt(np.where(values > 1e-14 * h.shape[-1], values, 0.0))
    known = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0.0)
    turned = vectors.swapaxes(-1, -2)
    return roots[..., None] * turned * unit[..., None, :], known * np.matvec(turned, h / unit)
