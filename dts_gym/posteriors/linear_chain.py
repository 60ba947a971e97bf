"""The posterior of a chain of affine links, level by level: evidence up, a draw down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.evidence import Evidence, condition, through_link, through_noise
from dts_gym.priors.links import AffineLink
from dts_gym.utils.arrays import Array


def draw(mean: Array, evidence: Evidence, cov: Array, rng: np.random.Generator) -> Array:
    """A draw of a node ``N(mean, cov)`` given evidence on it, (..., d); see `condition`."""
    center, F = condition(mean, evidence, cov)
    noise = rng.standard_normal((*center.shape[:-1], F.shape[-1], 1))
    return center + (F @ noise)[..., 0]


def upward(
    links: Sequence[AffineLink], covariances: Sequence[Array], evidence: Evidence, branch: int
) -> list[Evidence]:
    """Evidence on every level of the chain, from evidence on the actions' parameters.

    Parameters
    ----------
    links : L affine maps, ``links[ell - 1]`` is ``f_ell`` or its surrogate.
    covariances : L + 1 arrays (d, d).
    evidence : on ``theta``: (K, d, d) and (K, d); actions without data have zeros, or are left out.
    branch : levels above it are shared.

    Returns
    -------
    list of Evidence
        Entry ``ell`` is on ``psi_ell`` (``ell`` = 0..L): one a action up to the branch, one for all above.

    Notes
    -----
    Exact for affine links. Children's messages add before the link.
    """
    levels = [evidence]
    for ell, link in enumerate(links, start=1):
        message = through_noise(*levels[-1], covariances[ell - 1])
        if ell == branch + 1:
            message = Evidence(message.G.sum(axis=0, keepdims=True), message.h.sum(axis=0, keepdims=True))
        levels.append(through_link(message, link.weight, link.offset))
    return levels


def downward(
    links: Sequence[AffineLink],
    covariances: Sequence[Array],
    levels: Sequence[Evidence],
    num_actions: int,
    branch: int,
    rng: np.random.Generator,
) -> list[Array]:
    """One posterior draw of the whole chain, given the evidence that `upward` made.

    Returns
    -------
    list of arrays
        Entry ``ell`` is ``psi_ell``: (1, d) above the branch, (K, d) up to it; entry 0 is ``theta``.

    Notes
    -----
    Exact for affine links; with no data it is a draw of the prior. O(K d^3).
    """
    depth, d = len(links), covariances[0].shape[0]
    psi = np.zeros((1, d))
    chain: list[Array] = []
    for ell in range(depth, -1, -1):
        mean = psi if ell == depth else links[ell](psi)
        if ell <= branch:
            mean = np.broadcast_to(mean, (num_actions, d))
        psi = draw(mean, levels[ell], covariances[ell], rng)
        chain.append(psi)
    return chain[::-1]
