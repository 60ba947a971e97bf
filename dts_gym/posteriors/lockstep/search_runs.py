"""The searches for tangents of many runs at once: `TangentSearch` with a row for every mode of every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, Chain
from dts_gym.posteriors.chain.modes import as_row, distinct_modes, unreached
from dts_gym.posteriors.chain.races import Owned, race, run_bounds, some_of
from dts_gym.posteriors.chain.run_chains import chain_rows
from dts_gym.posteriors.chain.tangent_tracker import TangentSearch, densest_first
from dts_gym.posteriors.chain.tangents import Tangents, climbed_tangents, cold_path, joined
from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import BoolArray, IntArray


class Guided(NamedTuple):
    """Runs whose particles are guided in one array.

    Attributes
    ----------
    runs : (r,) their numbers.
    maps : L maps, (r, 1, d, d) of one mode, (M, r, 1, d, d) of up to M.
    missing : (M, r, 1) which of several modes only fill up the first axis; None of one mode.
    """

    runs: IntArray
    maps: list[AffineMap]
    missing: BoolArray | None = None


class SearchRuns:
    """R searches that are brought up to date together.

    Parameters
    ----------
    searches : of the runs; what they hold is out of date until `part`.
    singles : the chain of each run.
    chain : the same, stacked.

    Attributes
    ----------
    rows : tangents at every mode kept, a row each, the densest of a run first.
    """

    def __init__(self, searches: Sequence[TangentSearch], singles: Sequence[Chain], chain: Chain) -> None:
        self._searches, self._singles, self._chain = list(searches), list(singles), chain
        self.rows = self._gathered()
        self._last = chain  # that of the rows of the last climb

    def search(self, message: Evidence, changes: int) -> None:
        """As `TangentSearch.search`, of messages (R, 1, d, d) and (R, 1, d)."""
        if self._searches[0].starts_afresh(changes):
            self._race(message, changes)
            return
        climbed = self._climbed(self.rows, message)
        density = climbed.found.log_density.ravel()
        order = [start + row for start, end in run_bounds(climbed.owners) for row in densest_first(density[start:end])]
        self.rows = climbed if order == list(range(len(order))) else some_of(climbed, order)

    def part(self) -> None:
        """Hand the searches what was found."""
        for run, (start, end) in enumerate(run_bounds(self.rows.owners)):
            modes = self._of_one(run, some_of(self.rows, range(start, end)).found)
            self._searches[run].keep(_first(modes), modes)

    def by_modes(self) -> list[Guided]:
        """The runs whose filters can be one array: with one mode, and with up to 2, 4, 8, ... modes."""
        counts = np.bincount(self.rows.owners)
        starts = np.cumsum(counts) - counts
        most = 1 << np.ceil(np.log2(counts)).astype(np.int64)
        found: list[Guided] = []
        for size in np.unique(most).tolist():
            runs = np.flatnonzero(most == size)
            missing = np.arange(size)[:, None] >= counts[runs]
            at = starts[runs] + np.where(missing, 0, np.arange(size)[:, None])  # (M, r)
            at, absent = (at[0], None) if size == 1 else (at, missing[..., None])
            found.append(Guided(runs, [AffineMap(A[at], c[at]) for A, c in self.rows.found.surrogates], absent))
        return found

    def _climbed(self, rows: Owned, message: Evidence) -> Owned:
        assert self._last.runs is not None
        if not np.array_equal(self._last.runs, rows.owners):
            self._last = chain_rows(self._chain, rows.owners)
        said = Evidence(message.G[rows.owners], message.h[rows.owners])
        return rows._replace(found=climbed_tangents(self._last, said, rows.found))

    def _race(self, message: Evidence, changes: int) -> None:
        """The part of `search` with many starts: which modes are distinct is found run by run."""
        before = self.rows
        self.part()
        own = [Evidence(G[0], h[0]) for G, h in zip(*message, strict=True)]
        starts = [search.starts(one, changes) for search, one in zip(self._searches, own, strict=True)]
        path = [
            np.concatenate([part for run in zip(cold, many, strict=True) for part in run])[:, None]
            for cold, many in zip(cold_path(self._chain, message, 0), zip(*starts, strict=True), strict=True)
        ]
        owners = np.repeat(np.arange(len(starts)), [len(many[0]) + 1 for many in starts])
        best, others = race(self._chain, message, path, owners)
        more: Owned | None = None  # rows that may be modes beside the densest
        if self._searches[0].looks_for_modes(changes):
            more = unreached(self._chain, message, best, others)
        else:
            several = np.flatnonzero(np.bincount(before.owners)[before.owners] > 1)
            more = self._climbed(some_of(before, several.tolist()), message) if several.size else None
        bounds: dict[int, tuple[int, int]] = {}
        if more is not None and len(more.owners):
            bounds = {int(more.owners[start]): (start, end) for start, end in run_bounds(more.owners)}
        for run, search in enumerate(self._searches):
            densest = _first(self._of_one(run, _row(best, run)))
            modes = None
            if more is not None and run in bounds:
                rest = self._of_one(run, some_of(more, range(*bounds[run])).found)
                single = self._singles[run]
                modes = distinct_modes(single, own[run], joined([as_row(single, densest), rest]))
            search.keep(densest, modes)
        self.rows = self._gathered()

    def _of_one(self, run: int, rows: Tangents) -> Tangents:
        """Rows (n, 1, d) of one run as tangents at (n, d), where affine links have one map for all."""
        links, averages = self._singles[run].links, self._singles[run].averages
        maps = [
            average if link.affine else AffineMap(own.weight[:, 0], own.offset[:, 0])
            for link, average, own in zip(links, averages, rows.surrogates, strict=True)
        ]
        return Tangents(maps, [psi[:, 0] for psi in rows.path], rows.log_density[:, 0])

    def _gathered(self) -> Owned:
        """The rows of what the searches hold."""
        modes = [
            search.modes or as_row(single, Tangents(search.maps, search.path, np.zeros(())))
            for search, single in zip(self._searches, self._singles, strict=True)
        ]
        counts = [len(own.log_density) for own in modes]
        d = len(modes[0].path[0][0])
        maps = []
        for every in zip(*(own.surrogates for own in modes), strict=True):
            weights = [np.broadcast_to(own.weight, (n, d, d)) for own, n in zip(every, counts, strict=True)]
            offsets = [np.broadcast_to(own.offset, (n, d)) for own, n in zip(every, counts, strict=True)]
            maps.append(AffineMap(np.concatenate(weights)[:, None], np.concatenate(offsets)[:, None]))
        path = [np.concatenate(every)[:, None] for every in zip(*(own.path for own in modes), strict=True)]
        density = np.concatenate([own.log_density for own in modes])[:, None]
        return Owned(Tangents(maps, path, density), np.repeat(np.arange(len(counts)), counts))


def _row(rows: Tangents, at: int) -> Tangents:
    return some_of(Owned(rows, np.arange(len(rows.log_density))), [at]).found


def _first(modes: Tangents) -> Tangents:
    """The first of several paths' tangents, as those of one."""
    maps = [AffineMap(A[0], c[0]) if A.ndim > 2 else AffineMap(A, c) for A, c in modes.surrogates]
    return Tangents(maps, [psi[0] for psi in modes.path], modes.log_density[0])
