"""A chain as the particle filter reads it: links and factorised noise, and affine maps that replace links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from dts_gym.priors.denoisers import in_single_precision
from dts_gym.priors.links import Link, finite_value
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.validation import integer


class AffineMap(NamedTuple):
    """``psi -> weight psi + offset``; (..., d, d) and (..., d), a row for each action for tangents of its own levels.

    Like `dts_gym.priors.links.AffineLink`, with leading axes and without checks: tangents are made anew each round.
    """

    weight: Array
    offset: Array


class HasChain(Protocol):
    """The part of a prior that is read."""

    @property
    def links(self) -> Sequence[Link]:
        """L links, ``links[ell - 1]`` is ``f_ell``."""

    @property
    def covariances(self) -> tuple[Array, ...]:
        """L + 1 arrays (d, d), ``covariances[ell - 1]`` is ``Sigma_ell``."""


class Chain(NamedTuple):
    """A prior's links and noise, factorised once.

    Attributes
    ----------
    links : L links.
    covariances : L + 1 arrays (d, d).
    roots : L + 1 arrays (d, r), ``R R' = Sigma``, r its rank.
    whiteners : L + 1 arrays (r, d), the pseudo-inverses of the roots.
    padded_roots : (L + 1, d, d), the roots with columns of zeros.
    averages : L maps, each link's slope averaged over the spread of the prior, from which searches start.
    runs : None for one chain. Else a chain for each of N rows, and (N,) the run that each row belongs to, ascending:
        links then map (..., N, n, d), roots and whiteners have a first axis of N rows, covariances, averages and padded
        roots axes (N, 1) where a batch's are; see `dts_gym.posteriors.chain.run_chains`.
    """

    links: tuple[Link, ...]
    covariances: tuple[Array, ...]
    roots: tuple[Array, ...]
    whiteners: tuple[Array, ...]
    padded_roots: Array
    averages: tuple[AffineMap, ...]
    runs: IntArray | None = None


def as_chain(prior: HasChain) -> Chain:
    """The prior's chain with its covariances factorised, O(L d^3); a `Chain` is returned as it is.

    Denoisers' networks are evaluated in single precision, in a quarter of the time.

    Raises
    ------
    ValueError
        If there is no link, or not one covariance more than links.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> [R.shape for R in as_chain(random_linear_prior(3, 2)).roots]
    [(3, 3), (3, 3), (3, 3)]
    """
    if isinstance(prior, Chain):
        return prior
    depth = integer("the number of links of prior", len(prior.links), 1)
    if len(prior.covariances) != depth + 1:
        raise ValueError(f"covariances of prior must be one more than its links: {depth + 1}, {len(prior.covariances)}")
    roots = tuple(factor(cov) for cov in prior.covariances)
    whiteners = tuple(np.asarray(np.linalg.pinv(R), dtype=np.float64) for R in roots)
    links = in_single_precision(prior.links)
    padded = np.stack([np.pad(R, ((0, 0), (0, len(R) - R.shape[1]))) for R in roots])
    return Chain(links, tuple(prior.covariances), roots, whiteners, padded, _averages(links, roots))


def _averages(links: Sequence[Link], roots: Sequence[Array]) -> tuple[AffineMap, ...]:
    """Each link's secants over the prior's standard deviations (the third-degree cubature rule), as one affine map."""
    d = roots[0].shape[0]
    mean, root = np.zeros(d), roots[-1]
    maps: list[AffineMap] = []
    for ell in range(len(links), 0, -1):
        link, r = links[ell - 1], root.shape[1]
        steps = np.sqrt(max(r, 1)) * root.T  # (r, d)
        values = finite_value(link, np.concatenate([mean + steps, mean - steps, mean[None]]), f"links[{ell - 1}]")
        slopes = (values[:r] - values[r : 2 * r]) / (2.0 * np.sqrt(max(r, 1)))  # (r, d), of f along the root
        center = values[: 2 * r].mean(axis=0) if r else values[0]
        weight = slopes.T @ np.linalg.pinv(root)
        maps.append(affine_map(link) if link.affine else AffineMap(weight, center - weight @ mean))
        spread = (values[: 2 * r] - center) / np.sqrt(max(2 * r, 1))  # (2r, d)
        mean, root = center, factor(spread.T @ spread + roots[ell - 1] @ roots[ell - 1].T)
    return tuple(maps[::-1])


def affine_map(link: Link) -> AffineMap:
    """An affine link as a map."""
    zero = np.zeros(link.dim)
    return AffineMap(np.array(link.jacobian(zero), order="C"), link(zero))


def spread(mean: Array, ell: int, depth: int, branch: int) -> Array:
    """Give ``mean``, of level ``ell``, the axis of actions where the chain branches."""
    return mean[..., None, :] if ell == branch and 0 < branch < depth else mean
