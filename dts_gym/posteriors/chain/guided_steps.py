"""One step of particles, guided by the evidence on a level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import Array, conditioned_root, log_diagonal


class Guide(NamedTuple):
    """A guided step ``N(f, Sigma)`` times ``m``: mean ``gain f + shift``, covariance ``root root'``."""

    gain: Array  # (..., d, d)
    shift: Array  # (..., d)
    root: Array  # (..., d, r)
    log_constant: Array  # (...), log Z(f) less the quadratic form in f


def guides_of(latents: Sequence[Evidence], prior_roots: Array, exploration: Array | float) -> Guide:
    """The guided steps of several levels on the first axis, in the order of their messages: one factorisation for all.

    ``prior_roots`` is (levels, d, d), or (levels, N, 1, d, d) of N rows.
    """
    G, h = np.array([latent.G for latent in latents]), np.array([latent.h for latent in latents])
    roots = _with_guides(prior_roots, h.ndim + 1)
    return guide_of(Evidence(G, h), roots, exploration)


def guide_of(latent: Evidence, prior_root: Array, exploration: Array | float) -> Guide:
    """The guided step to a node with message ``latent`` and noise ``R R'``; singular noise is fine. O(d^3)."""
    root, L = conditioned_root(prior_root, latent.G)
    root_t = np.swapaxes(root, -1, -2)
    reach = (root_t @ latent.h[..., None])[..., 0]  # (..., r)
    constant = 0.5 * np.vecdot(reach, reach) / exploration**2 - log_diagonal(L)
    gain = np.eye(root.shape[-2]) - root @ (root_t @ latent.G)
    return Guide(gain, (root @ reach[..., None])[..., 0], root, constant)


def with_prior(guides: Guide, prior_roots: Array) -> Guide:
    """Guides of several levels (levels, M, ...) and before them, on the second axis, the prior's own steps.

    ``prior_roots`` is as in `guides_of`.
    """
    parts = [np.empty((len(part), part.shape[1] + 1, *part.shape[2:])) for part in guides]
    roots = _with_guides(prior_roots, guides.root.ndim)[:, 0]
    for part, guided, own in zip(parts, guides, (np.eye(prior_roots.shape[-1]), 0.0, roots, 0.0), strict=True):
        part[:, 0], part[:, 1:] = own, guided
    return Guide(*parts)


def _with_guides(prior_roots: Array, ndim: int) -> Array:
    """Roots of several levels with an axis of guides after the first, and others as needed for ``ndim`` in all."""
    return prior_roots.reshape(len(prior_roots), *[1] * (ndim - prior_roots.ndim), *prior_roots.shape[1:])


def walk(mean: Array, guide: Guide, noise: Array) -> Array:
    """One step of particles, (..., P, d), from the prior's means ``mean`` (..., P or 1, d).

    ``noise`` (..., P, r) is standard normal times the exploration scale.
    """
    center = mean @ np.swapaxes(guide.gain, -1, -2) + guide.shift[..., None, :]
    return np.asarray(center + noise @ np.swapaxes(guide.root, -1, -2))
