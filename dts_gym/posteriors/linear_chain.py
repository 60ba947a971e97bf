"""The posterior of a chain of affine links, level by level: evidence up, a draw down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.evidence import Evidence, condition, through_noise
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.utils.arrays import Array


def upward(prior: LinearDiffusionPrior, evidence: Evidence, branch: int) -> list[Evidence]:
    """Evidence on every level of the chain, from evidence on the actions' parameters.

    Parameters
    ----------
    prior : a chain of affine links.
    evidence : evidence on ``theta``, (K, d, d) and (K, d); actions without data have zeros, or are left out.
    branch : levels above this one are shared.

    Returns
    -------
    list of Evidence
        Entry ``ell`` is on ``psi_ell`` (``ell`` = 0..L): up to the branch one for each action, above it one for all,
        without an axis of actions.

    Notes
    -----
    Exact. Children's messages add before the link.
    """
    message = through_noise(*evidence, prior.covariances[0])
    if branch == 0:
        message = Evidence(message.G.sum(axis=0), message.h.sum(axis=0))
    maps = [AffineMap(link.weight, link.offset) for link in prior.links]
    return [evidence, *upward_messages(prior, maps, message, branch).latents]


def downward(
    prior: LinearDiffusionPrior, levels: Sequence[Evidence], num_actions: int, branch: int, rng: np.random.Generator
) -> list[Array]:
    """One posterior draw of the whole chain, given the evidence that `upward` made.

    Returns
    -------
    list of arrays
        Entry ``ell`` is ``psi_ell``: (1, d) above the branch, (K, d) up to it; entry 0 is ``theta``.

    Notes
    -----
    Exact; with no data it is a draw of the prior. O(K d^3).
    """
    psi = np.zeros((1, prior.dim))
    chain: list[Array] = []
    for ell in range(prior.depth, -1, -1):
        mean = psi if ell == prior.depth else prior.links[ell](psi)
        if ell <= branch:
            mean = np.broadcast_to(mean, (num_actions, prior.dim))
        center, F = condition(mean, levels[ell], prior.covariances[ell])
        psi = center + (F @ rng.standard_normal((*center.shape[:-1], F.shape[-1], 1)))[..., 0]
        chain.append(psi)
    return chain[::-1]
