"""One step of particles, guided by the evidence on a level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.chain.chain import Chain
from dts_gym.posteriors.chain.messages import Messages
from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import Array, BoolArray, conditioned_root


class Guide(NamedTuple):
    """A guided step ``N(f, Sigma)`` times ``m``: mean ``gain f + shift``, covariance ``root root'``."""

    gain: Array  # (..., d, d)
    shift: Array  # (..., d)
    root: Array  # (..., d, r)
    log_constant: Array  # (...), log Z(f) less the quadratic form in f


def guides_of(chain: Chain, messages: Messages, levels: range, exploration: float) -> Guide:
    """The guided steps of the levels, the lowest first, on the first axis: one factorisation for all."""
    low, high = levels[-1], levels[0]
    latents = messages.latents[low - 1 : high]
    G, h = np.array([latent.G for latent in latents]), np.array([latent.h for latent in latents])
    roots = chain.padded_roots[low : high + 1]
    return guide_of(Evidence(G, h), roots.reshape(len(roots), *[1] * (h.ndim - 2), *roots.shape[1:]), exploration)


def guide_of(latent: Evidence, prior_root: Array, exploration: float) -> Guide:
    """The guided step to a node with message ``latent`` and noise ``R R'``; singular noise is fine. O(d^3)."""
    root, spread = conditioned_root(prior_root, latent.G)
    root_t = np.swapaxes(root, -1, -2)
    reach = (root_t @ latent.h[..., None])[..., 0]  # (..., r)
    constant = 0.5 * np.vecdot(reach, reach) / exploration**2 - 0.5 * np.log(spread).sum(axis=-1)
    gain = np.eye(root.shape[-2]) - root @ (root_t @ latent.G)
    return Guide(gain, (root @ reach[..., None])[..., 0], root, constant)


def walk(
    mean: Array,
    guide: Guide,
    num_particles: int,
    rng: np.random.Generator,
    exploration: float,
    unguided: BoolArray | None = None,
    prior_root: Array | None = None,
) -> Array:
    """One step of all particles, (..., P, d), from the prior's means ``mean`` (..., P or 1, d)."""
    lead = np.broadcast_shapes(mean.shape[:-2], guide.shift.shape[:-1])
    noise = exploration * rng.standard_normal((*lead, num_particles, guide.root.shape[-1]))
    center = mean @ np.swapaxes(guide.gain, -1, -2) + guide.shift[..., None, :]
    psi: Array = center + noise @ np.swapaxes(guide.root, -1, -2)
    if unguided is None or prior_root is None:
        return psi
    return np.where(unguided[..., None], mean + noise @ prior_root.T, psi)
