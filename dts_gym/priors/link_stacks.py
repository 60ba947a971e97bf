"""Links of many runs as one: each run's link on points of its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from dts_gym.priors.denoisers import DenoiserLink
from dts_gym.priors.links import AffineLink, Link, MLPLink
from dts_gym.utils.arrays import IntArray


def stacked_links(links: Sequence[Link]) -> Link | None:
    """One link that maps points (..., R, n, d), the i-th of R rows by the i-th link.

    Parameters
    ----------
    links : R links.

    Returns
    -------
    Link or None
        The first link, where all are the same, as are steps of one denoiser's network. Of affine maps and of
        perceptrons of equal sizes one whose arrays have a first axis of R. None where the links are of other kinds.

    Examples
    --------
    >>> stacked = stacked_links([AffineLink(np.eye(1)), AffineLink(2 * np.eye(1))])
    >>> stacked(np.ones((2, 1, 1))).ravel()
    array([1., 2.])
    """
    first = links[0]
    if all(_are_same(first, link) for link in links[1:]):
        return first if type(first) in (AffineLink, MLPLink, DenoiserLink) else None
    if any(_sizes(link) != _sizes(first) for link in links):
        return None
    made = copy.copy(first)
    if isinstance(first, AffineLink) and isinstance(made, AffineLink):
        made.weight = np.stack([link.weight for link in links if isinstance(link, AffineLink)])
        made.offset = np.stack([link.offset[None] for link in links if isinstance(link, AffineLink)])
        return made
    if isinstance(first, MLPLink) and isinstance(made, MLPLink):
        every = [link for link in links if isinstance(link, MLPLink)]
        layers = range(len(first.weights))
        made.weights = tuple(np.stack([link.weights[i] for link in every]) for i in layers)
        made.biases = tuple(np.stack([link.biases[i][None] for link in every]) for i in layers)
        return made
    return None


def rows_of_link(link: Link, rows: IntArray) -> Link:
    """Of a link that `stacked_links` returned, the links of some rows, which may be repeated."""
    if isinstance(link, AffineLink) and link.weight.ndim > 2:
        part = copy.copy(link)
        part.weight, part.offset = link.weight[rows], link.offset[rows]
        return part
    if isinstance(link, MLPLink) and link.weights[0].ndim > 2:
        some = copy.copy(link)
        some.weights = tuple(weight[rows] for weight in link.weights)
        some.biases = tuple(bias[rows] for bias in link.biases)
        return some
    return link


def _sizes(link: Link) -> tuple[object, ...] | None:
    if type(link) is AffineLink:
        return AffineLink, link.dim
    if type(link) is MLPLink:
        return MLPLink, link.activation, *(weight.shape for weight in link.weights)
    return None


def _are_same(one: Link, other: Link) -> bool:
    if one is other:
        return True
    if not (type(one) is DenoiserLink and type(other) is DenoiserLink):
        return False
    known, (settings, arrays) = one.state(), other.state()
    return (
        known[0] == settings
        and known[1].keys() == arrays.keys()
        and all(
            array is arrays[name] or (not name.startswith("network.") and np.array_equal(array, arrays[name]))
            for name, array in known[1].items()
        )
    )
