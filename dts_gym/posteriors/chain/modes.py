r"""The modes of a chain's posterior, as the ends of searches for tangents: which of them particles must be led to.

A mode's Laplace mass is its log density plus half the log determinant of its guide's covariance, the covariance of the
latents were its tangents the links. Ends whose mass is far below the best one's matter to no draw, and ends within the
reach of a guide that is kept already need none of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, Chain
from dts_gym.posteriors.chain.guided_steps import guide_of
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.races import Owned
from dts_gym.posteriors.chain.run_chains import rows_of
from dts_gym.posteriors.chain.tangents import Tangents, climbed_tangents, joined, selected
from dts_gym.posteriors.evidence import Evidence, log_evidence, matvec
from dts_gym.utils.arrays import Array, conditioned_root, log_diagonal

# Nats of Laplace mass below the best mode's from which on a mode is left out; deviations of a guide that it reaches.
WINDOW, REACH = 8.0, 2.0
_PASSES = 6  # of the searches that were given up, from where they were


def modes_of(chain: Chain, message: Evidence, densest: Tangents, others: Tangents) -> Tangents:
    """The tangents at the modes among the ends of searches.

    Parameters
    ----------
    chain : the prior's, with all levels shared.
    message : on ``f_1(psi_1)``, (d, d) and (d,).
    densest : of one path.
    others : of searches not yet at their ends, as `raced_tangents` returns them; those that the densest path's guide
        reaches are not gone on with.

    Returns
    -------
    Tangents
        Of M paths, (M, d) a level, the densest first, then by mass.

    Examples
    --------
    >>> from dts_gym.posteriors.chain.chain import as_chain
    >>> from dts_gym.posteriors.chain.races import raced_tangents
    >>> from dts_gym.priors.chains import DiffusionPrior
    >>> from dts_gym.priors.links import MLPLink
    >>> fold = MLPLink([[[1.0], [-1.0]], [[1.0, 1.0]]])  # |psi|
    >>> chain, message = as_chain(DiffusionPrior([fold], [np.eye(1)] * 2)), Evidence(9 * np.eye(1), np.array([18.0]))
    >>> found = raced_tangents(chain, message, [np.array([[1.0], [-1.0]])])
    >>> modes_of(chain, message, *found).path[0].round(6).tolist()
    [[1.8], [-1.8]]
    """
    best = as_row(chain, densest)
    apart = unreached(chain, message, best, Owned(others, np.zeros(len(others.log_density), dtype=np.int64))).found
    return distinct_modes(chain, message, joined([best, apart])) if len(apart.log_density) else best


def unreached(chain: Chain, message: Evidence, best: Tangents, others: Owned) -> Owned:
    """Searches gone on with, as long as the guide of the run's densest path does not reach them.

    Parameters
    ----------
    chain, message : of one run, or of R runs with a row each, as in `rows_of`.
    best : of the densest paths, a row each.
    others : of searches not yet at their ends.
    """
    for left in range(_PASSES, -1, -1):
        here, said = rows_of(chain, message, others.owners)
        maps = [own.weight if own.weight.ndim == 2 else own.weight[others.owners] for own in best.surrogates]
        off = [psi - mode[others.owners] for psi, mode in zip(others.found.path, best.path, strict=True)]
        apart = _deviations(here, said, maps, off).ravel() > REACH
        others = Owned(selected(others.found, apart), others.owners[apart])
        if not len(others.owners):
            break
        if left:
            here, said = rows_of(chain, message, others.owners)
            others = others._replace(found=climbed_tangents(here, said, others.found))
    return others


def distinct_modes(chain: Chain, message: Evidence, found: Tangents) -> Tangents:
    """Of tangents at many paths those of distinct modes that matter, as `modes_of` returns them; the densest stays."""
    masses = laplace_masses(chain, message, found)
    apart = distances(chain, message, found, found) > REACH
    kept = [int(found.log_density.argmax())]
    for row in np.argsort(-masses, kind="stable"):
        if masses[row] < masses.max() - WINDOW:
            break
        if apart[kept, row].all():
            kept.append(int(row))
    return selected(found, kept)


def laplace_masses(chain: Chain, message: Evidence, found: Tangents) -> Array:
    """Log density plus half the log determinant of the guide's covariance, relative to the prior's noise: (n,)."""
    masses: Array = found.log_density
    for latent, root in zip(upward_messages(chain, found.surrogates, message).latents, chain.roots[1:], strict=True):
        masses = masses - log_diagonal(conditioned_root(root, latent.G)[1])
    return np.asarray(masses)


def distances(chain: Chain, message: Evidence, modes: Tangents, paths: Tangents) -> Array:
    """How far paths (n) are from modes (M), in deviations of each mode's guide, (M, n)."""
    off = [psi - mode[:, None] for psi, mode in zip(paths.path, modes.path, strict=True)]  # L arrays (M, n, d)
    maps = [own.weight if own.weight.ndim == 2 else own.weight[:, None] for own in modes.surrogates]
    return _deviations(chain, message, maps, off)


def _deviations(chain: Chain, message: Evidence, maps: Sequence[Array], off: Sequence[Array]) -> Array:
    """Lengths (...) of differences to a mode, L arrays (..., d), in deviations of the guide with these slopes."""
    squares: Array = np.zeros(off[0].shape[:-1])
    expected: Array = np.zeros_like(off[-1])
    for ell in range(len(off), 0, -1):
        eps = (off[ell - 1] - expected) @ np.swapaxes(chain.whiteners[ell], -1, -2)
        squares += np.vecdot(eps, eps)
        expected = matvec(maps[ell - 1], off[ell - 1])
    return np.asarray(np.sqrt(squares + np.vecdot(matvec(message.G, expected), expected).clip(0.0)))


def visited_mass(
    chain: Chain, message: Evidence, guides: Sequence[AffineMap], found: Tangents, num_particles: int, defensive: float
) -> float:
    """The share of the modes' mass that lies at modes which a filter's particles can be expected to visit.

    Parameters
    ----------
    chain, message : as in `modes_of`.
    guides : L maps, of the filter's guides: (d, d) of one, (M, d, d) of several.
    found : tangents at modes, however they were found, (n, d) a level.
    num_particles, defensive : P, and the share of draws from the prior.

    Returns
    -------
    float
        In 0 to 1. A mode counts with its Laplace mass times ``1 - (1 - v)^P``, where ``v`` is the part of the
        proposal that falls where the mode's own guide would draw. Resampling is left out of account.
    """
    messages = upward_messages(chain, guides, message)
    lead = messages.latents[-1].h.shape[:-1]
    depth, ratio, heights = len(found.path), np.zeros((*lead, len(found.log_density))), np.zeros(lead)
    for ell, psi in enumerate(found.path, start=1):
        constant = guide_of(messages.latents[ell - 1], chain.padded_roots[ell], 1.0).log_constant
        heights = heights + messages.log_offsets[ell - 1] + constant
        ratio = ratio + log_evidence(messages.latents[ell - 1], psi) - constant[..., None]
        if ell < depth:
            ratio = ratio - log_evidence(messages.values[ell], chain.links[ell](found.path[ell]))
    shares = np.exp(0.5 * (heights - heights.max()))
    shares = np.atleast_1d((1.0 - defensive) * shares / shares.sum())
    proposed = defensive + shares @ np.exp(np.minimum(np.atleast_2d(ratio), 500.0))  # (n,), relative to the prior
    masses = laplace_masses(chain, message, found)
    value = chain.links[0](found.path[0])
    visits = np.exp(masses - log_evidence(message, value)) * proposed  # what is left of a mass without the evidence
    weights = np.exp(masses - masses.max())
    missed = (1.0 - visits.clip(0.0, 1.0)) ** num_particles
    return float(weights @ (1.0 - missed) / weights.sum())


def as_row(chain: Chain, found: Tangents) -> Tangents:
    """The tangents of one path as those of one row; affine links have one map for all."""
    maps = zip(chain.links, found.surrogates, strict=True)
    slopes = [own if link.affine else AffineMap(own.weight[None], own.offset[None]) for link, own in maps]
    return Tangents(slopes, [psi[None] for psi in found.path], found.log_density[None])
