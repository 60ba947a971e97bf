"""Searches for tangents from many starts, of which the worse half is dropped after each pass; of one run or many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.chain.chain import Chain, HasChain, as_chain
from dts_gym.posteriors.chain.run_chains import rows_of
from dts_gym.posteriors.chain.tangents import Tangents, begun_tangents, climbed_tangents, cold_path, joined, selected
from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import Array, IntArray


class Owned(NamedTuple):
    """Tangents at paths, a row each, and the run that each belongs to, (N,), ascending."""

    found: Tangents
    owners: IntArray


def raced_tangents(
    prior: HasChain, message: Evidence, starts: Sequence[Array], max_passes: int = 8, tolerance: float = 1e-3
) -> tuple[Tangents, Tangents]:
    """The tangents at the densest path that searches from many starts find, and from the one of `jacobian_surrogates`.

    Parameters
    ----------
    prior, max_passes, tolerance : as in `jacobian_surrogates`.
    message : evidence on ``f_1(psi_1)``, (d, d) and (d,), at branch 0.
    starts : L arrays (n, d), the paths to start from.

    Returns
    -------
    Tangents, Tangents
        Of the densest path, (d,) a level; and of the other n, (n, d), where each was given up.

    Notes
    -----
    After each pass the worse half of the searches is dropped, down to two: about 2 n rows of passes in all.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_mlp_prior
    >>> found, others = raced_tangents(random_mlp_prior(2, 1), Evidence(np.eye(2), np.ones(2)), [np.zeros((3, 2))])
    >>> found.path[0].shape, found.surrogates[0].weight.shape, others.path[0].shape
    ((2,), (2, 2), (3, 2))
    """
    chain = as_chain(prior)
    path = [np.vstack([cold, many]) for cold, many in zip(cold_path(chain, message, 0), starts, strict=True)]
    best, others = race(chain, message, path, np.zeros(len(path[0]), dtype=np.int64), max_passes, tolerance)
    return selected(best, 0), others.found


def race(
    chain: Chain,
    message: Evidence,
    path: list[Array],
    owners: IntArray,
    max_passes: int = 8,
    tolerance: float = 1e-3,
) -> tuple[Tangents, Owned]:
    """The race of `raced_tangents`, in every run by itself.

    Parameters
    ----------
    chain, message : of one run, or of R runs with a row each, as in `rows_of`.
    path : L arrays with a row for each start, (n, d); of runs (N, 1, d).
    owners : (N,) the run of each row, ascending; each of the runs has one or more.

    Returns
    -------
    Tangents, Owned
        The densest of each run, a row each; and the others, where each was given up.
    """
    racing = Owned(begun_tangents(*rows_of(chain, message, owners), 0, path), owners)
    given_up: list[Owned] = []
    ended: list[Owned] = []
    for _ in range(max_passes):
        before = racing.found.log_density.ravel()
        here, said = rows_of(chain, message, racing.owners)
        racing = racing._replace(found=climbed_tangents(here, said, racing.found, 0, 1, tolerance))
        density = racing.found.log_density.ravel()
        kept: list[int] = []
        last: list[int] = []
        dropped: list[int] = []
        for start, end in run_bounds(racing.owners):
            left = max(2, (end - start) // 2)
            order = (start + np.argsort(-density[start:end], kind="stable")).tolist()
            dropped += order[left:]
            stays = left == 2 and density[order[0]] - before[start:end].max() <= tolerance
            (last if stays else kept).extend(order[:left])
        given_up.append(some_of(racing, dropped))
        ended.append(some_of(racing, last))
        racing = some_of(racing, kept)
        if not kept:
            break
    left_over = _together([*ended, racing])
    density = left_over.found.log_density.ravel()
    best = [start + int(density[start:end].argmax()) for start, end in run_bounds(left_over.owners)]
    others = np.setdiff1d(np.arange(len(density)), best)
    return selected(left_over.found, best), _together([*given_up, some_of(left_over, others.tolist())])


def run_bounds(owners: IntArray) -> list[tuple[int, int]]:
    """Where the rows of each run begin and end."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(owners)], strict=True))


def some_of(rows: Owned, chosen: Sequence[int]) -> Owned:
    """Chosen rows."""
    at = np.array(chosen, dtype=np.int64)
    return Owned(selected(rows.found, at), rows.owners[at])


def _together(parts: Sequence[Owned]) -> Owned:
    """All rows, by run, and of a run in the order of the parts."""
    owners = np.concatenate([part.owners for part in parts])
    order = np.argsort(owners, kind="stable")
    return Owned(selected(joined([part.found for part in parts]), order), owners[order])
