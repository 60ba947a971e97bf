"""Tangents as surrogates: the links linearised at the MAP path of the latents, and the search for that path.

Messages have rows as described in `dts_gym.posteriors.chain.messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.chain.chain import AffineMap, Chain, HasChain, as_chain, spread
from dts_gym.posteriors.chain.messages import smoothed_path, upward_messages
from dts_gym.posteriors.evidence import Evidence, matvec
from dts_gym.utils.arrays import Array, BoolArray
from dts_gym.utils.validation import integer

# The shares of the way to the linear chain's mode that a pass of the search for tangents tries.
_STEPS = np.array([0.5**i for i in range(8)])


_ENDS = np.array([0.0, 1.0])


class Tangents(NamedTuple):
    """The links' tangents at a path.

    Attributes
    ----------
    surrogates : L maps, one a link.
    path : L arrays, ``path[ell - 1]`` is ``psi_ell`` (..., d): the start of the next search.
    log_density : (...) of the path given the evidence, without constants; one a chain (one in all between the
        extremes of ``branch``).
    """

    surrogates: list[AffineMap]
    path: list[Array]
    log_density: Array


def jacobian_surrogates(
    prior: HasChain,
    message: Evidence,
    branch: int = 0,
    start: Sequence[Array] | None = None,
    max_passes: int = 8,
    tolerance: float = 1e-3,
) -> Tangents:
    """The links' tangents at the MAP path of the latents, found by damped Gauss-Newton passes.

    Parameters
    ----------
    prior : a prior, or its chain (faster).
    message : evidence on ``f_1(psi_1)``, after the noise ``Sigma_1``, with rows as in
        `dts_gym.posteriors.chain.messages`.
    branch : 0..L.
    start : a second path to search from, as `Tangents.path` of the round before holds it.
    max_passes : largest number of linearisations to solve.
    tolerance : stop where no log density gains more than this.

    Returns
    -------
    Tangents
        For affine links these are the links themselves. The density is never below that of ``start``.

    Notes
    -----
    A pass linearises the links at the path, solves the linear chain (upward messages, then means downward) and goes the
    part of the way, of 1, 1/2, 1/4, ..., where the path is densest: prior chain times evidence on ``f_1(psi_1)``. The
    search ends where the linear chain promises no more. It runs from the mode that the links' average slopes give and,
    beside it, from ``start``; the better result is returned. (A warm start alone can stay where ReLUs have no slope:
    without data that is the mode.)
    The result is a local mode. Where ``Sigma`` is singular the path is kept on its range. Exploration does not move it.
    O(passes rows L d^3). Deterministic.

    Source: Bell, "The iterated Kalman smoother as a Gauss-Newton method" (1994).

    Raises
    ------
    ValueError
        If a link's value at the prior's scale is not finite.

    Examples
    --------
    >>> from dts_gym.priors import LinearDiffusionPrior
    >>> prior = LinearDiffusionPrior([2 * np.eye(1)], [np.eye(1), np.eye(1)])
    >>> found = jacobian_surrogates(prior, Evidence(np.eye(1), np.ones(1)))
    >>> found.surrogates[0].weight, found.path[0], float(found.log_density.round(9))
    (array([[2.]]), array([0.4]), 0.4)
    """
    chain = as_chain(prior)
    integer("branch", branch, 0, len(chain.links))
    path = cold_path(chain, message, branch)
    if start is None:
        return _climbed(chain, message, branch, begun_tangents(chain, message, branch, path), max_passes, tolerance)
    both = [np.stack(np.broadcast_arrays(cold, warm)) for cold, warm in zip(path, start, strict=True)]
    found = _climbed(chain, message, branch, begun_tangents(chain, message, branch, both), max_passes, tolerance)
    path, log_density = _better(found.path, found.log_density, branch)
    return Tangents(_tangents(chain, path), path, log_density)


def climbed_tangents(
    prior: HasChain,
    message: Evidence,
    last: Tangents,
    branch: int = 0,
    max_passes: int = 1,
    tolerance: float = 1e-3,
) -> Tangents:
    """The tangents found by Gauss-Newton passes from those last found alone, as after a change of the evidence.

    Parameters
    ----------
    prior, message, branch, tolerance : as in `jacobian_surrogates`.
    last : the tangents before the change, of one path or of many with a leading axis.
    max_passes : at least one, which will do where evidence changes bit by bit: the next search goes on from its end.

    Notes
    -----
    While these promise no gain above ``tolerance``, nothing moves and no link is evaluated: O(L d^3).

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_mlp_prior
    >>> prior, message = random_mlp_prior(2, 1), Evidence(np.eye(2), np.ones(2))
    >>> last = jacobian_surrogates(prior, message, tolerance=1e-9)
    >>> climbed_tangents(prior, Evidence(message.G, 1.001 * message.h), last).path == last.path
    True
    """
    return _climbed(as_chain(prior), message, branch, last, integer("max_passes", max_passes, 1), tolerance)


def _tangents(chain: Chain, path: Sequence[Array]) -> list[AffineMap]:
    tangents = []
    for link, average, psi in zip(chain.links, chain.averages, path, strict=True):
        if link.affine:
            tangents.append(average)
            continue
        value, weight = link.value_and_jacobian(psi)
        tangents.append(AffineMap(np.ascontiguousarray(weight), value - matvec(weight, psi)))
    return tangents


def cold_path(chain: Chain, message: Evidence, branch: int) -> list[Array]:
    """The mode of the chain with the links' average slopes."""
    return smoothed_path(chain, chain.averages, upward_messages(chain, chain.averages, message, branch), branch)


def begun_tangents(chain: Chain, message: Evidence, branch: int, path: list[Array]) -> Tangents:
    """The tangents at a path, moved on the range of the noise."""
    path, log_density = _settled(chain, message, branch, path)
    return Tangents(_tangents(chain, path), path, log_density)


def _climbed(
    chain: Chain, message: Evidence, branch: int, found: Tangents, max_passes: int, tolerance: float
) -> Tangents:
    """Gauss-Newton passes from a path and its tangents, whose density is recomputed."""
    slopes, path, log_density = found
    searching: Any = np.True_  # which runs' searches go on
    for _ in range(max_passes):
        goal = smoothed_path(chain, slopes, upward_messages(chain, slopes, message, branch), branch)
        # In the linear chain the path has the same density, because tangents touch the links there.
        ends = _between(path, goal, _ENDS, branch)
        before, promised = _settled(chain, message, branch, ends, slopes)[1]
        before = _where(searching, before, log_density)
        searching = searching & any_of_run(chain, promised - before > tolerance)
        if not searching.any():
            log_density = before
            break
        further, log_density = _towards(chain, message, branch, path, goal, before)
        path = [_where(searching, new, old) for new, old in zip(further, path, strict=True)]
        log_density = _where(searching, log_density, before)
        gain = log_density - before
        moved = any_of_run(chain, gain > 0)
        if moved.any():
            slopes = [
                AffineMap(_where(moved, new.weight, old.weight), _where(moved, new.offset, old.offset))
                for new, old in zip(_tangents(chain, path), slopes, strict=True)
            ]
        searching = searching & any_of_run(chain, gain > tolerance)
        if not searching.any():
            break
    return Tangents(slopes, path, log_density)


def any_of_run(chain: Chain, flags: BoolArray) -> Any:
    """Whether a flag is set in any row of one chain's; in any row of the same run, (N, 1), where there are runs."""
    if chain.runs is None:
        return flags.any()
    starts = np.flatnonzero(np.diff(chain.runs, prepend=-1))
    each = np.logical_or.reduceat(flags, starts, axis=0)
    return np.repeat(each, np.diff(starts, append=len(flags)), axis=0)


def _where(flags: Any, new: Array, old: Array) -> Array:
    """The new rows where flags, a number or (N, 1), are set, the old ones elsewhere."""
    if flags.all():
        return new
    return np.where(flags.reshape(*flags.shape, *[1] * (new.ndim - flags.ndim)), new, old)


def _settled(
    chain: Chain, message: Evidence, branch: int, path: Sequence[Array], surrogates: Sequence[AffineMap] | None = None
) -> tuple[list[Array], Array]:
    """The path moved on the range of the noise (nothing moves where ``Sigma`` has full rank), and its log density.

    With surrogates, that of the chain with them for links. NaN is replaced by minus infinity.
    """
    depth = len(chain.links)
    mean = np.zeros_like(path[-1])
    total: Array = np.zeros(path[-1].shape[:-1])
    settled = []
    for ell in range(depth, 0, -1):
        psi, root = path[ell - 1], chain.roots[ell]
        eps = (psi - mean) @ np.swapaxes(chain.whiteners[ell], -1, -2)  # (..., r), standard normal under the prior
        if root.shape[-1] < root.shape[-2]:
            psi = mean + eps @ np.swapaxes(root, -1, -2)
        settled.append(psi)
        term = -0.5 * np.vecdot(eps, eps)
        total = total + (term.sum(axis=-1) if branch < depth and ell <= branch else term)
        if surrogates is None:
            value = _values(chain, ell, psi)
        else:
            A, c = surrogates[ell - 1]
            value = matvec(A, psi) + c
        mean = spread(value, ell - 1, depth, branch)
    G, h = message
    pull = mean @ G if G.ndim == 2 else (mean[..., None, :] @ G)[..., 0, :]
    data = np.vecdot(h - 0.5 * pull, mean)
    total = total + (data.sum(axis=-1) if 0 < branch < depth else data)
    return settled[::-1], np.fmax(total, -np.inf)


def _values(chain: Chain, ell: int, psi: Array) -> Array:
    """The link's values; of runs (..., N, 1, d), the points of a row side by side."""
    if chain.runs is None or psi.ndim == 3:
        return chain.links[ell - 1](psi)
    beside = np.moveaxis(psi[..., 0, :], -2, 0)  # (N, ..., d)
    value = chain.links[ell - 1](beside.reshape(len(beside), -1, psi.shape[-1]))
    return np.moveaxis(value.reshape(beside.shape), 0, -2)[..., None, :]


def _towards(
    chain: Chain, message: Evidence, branch: int, path: list[Array], goal: list[Array], before: Array
) -> tuple[list[Array], Array]:
    """Go towards the goal to where the density is greatest; stay where it is nowhere above ``before``."""
    depth = len(path)
    tried, log_density = _settled(chain, message, branch, _between(path, goal, _STEPS, branch))
    best, reached = log_density.argmax(axis=0), log_density.max(axis=0)
    better = reached > before
    if not better.any():
        return path, before
    kept = []
    for ell, (psi, new) in enumerate(zip(path, tried, strict=True), start=1):
        chosen = np.take_along_axis(new, _rows(best, ell, depth, branch)[None], axis=0)[0]
        kept.append(np.where(_rows(better, ell, depth, branch), chosen, psi))
    return kept, np.where(better, reached, before)


def _between(path: list[Array], goal: list[Array], parts: Array, branch: int) -> list[Array]:
    """Paths that have gone parts of the way to the goal, stacked on the first axis."""
    depth = len(path)
    parts = parts.reshape(-1, *[1] * (path[-1].ndim - 1))
    return [
        psi + _rows(parts, ell, depth, branch) * (new - psi)
        for ell, (psi, new) in enumerate(zip(path, goal, strict=True), start=1)
    ]


def _better(path: list[Array], log_density: Array, branch: int) -> tuple[list[Array], Array]:
    """Select, from paths stacked on the first axis, the denser one for each chain; the last where they are equal."""
    depth = len(path)
    last = log_density[1] >= log_density[0]
    kept = [np.where(_rows(last, ell, depth, branch), psi[1], psi[0]) for ell, psi in enumerate(path, start=1)]
    return kept, np.where(last, log_density[1], log_density[0])


def selected(found: Tangents, rows: Any) -> Tangents:
    """Of independent chains' tangents those with an index; affine links have one map for all."""
    slopes = [AffineMap(A[rows], c[rows]) if A.ndim > 2 else AffineMap(A, c) for A, c in found.surrogates]
    return Tangents(slopes, [psi[rows] for psi in found.path], found.log_density[rows])


def joined(parts: Sequence[Tangents]) -> Tangents:
    """The tangents of independent chains, all with a leading axis, as rows of one."""
    first = parts[0]
    slopes = [
        AffineMap(*(np.concatenate(every) for every in zip(*maps, strict=True))) if maps[0].weight.ndim > 2 else maps[0]
        for maps in zip(*(part.surrogates for part in parts), strict=True)
    ]
    path = [np.concatenate([part.path[ell] for part in parts]) for ell in range(len(first.path))]
    return Tangents(slopes, path, np.concatenate([part.log_density for part in parts]))


def _rows(per_chain: NDArray[Any], ell: int, depth: int, branch: int) -> NDArray[Any]:
    """(...), one a chain, to the axes of level ``ell``."""
    return per_chain[..., None, None] if ell <= branch < depth else per_chain[..., None]
