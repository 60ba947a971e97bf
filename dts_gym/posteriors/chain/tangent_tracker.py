"""Tangents updated as evidence grows: searched from the last ones, and occasionally from many starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, Chain
from dts_gym.posteriors.chain.messages import smoothed_path, upward_messages
from dts_gym.posteriors.chain.modes import as_row, distinct_modes, modes_of, visited_mass
from dts_gym.posteriors.chain.races import raced_tangents
from dts_gym.posteriors.chain.tangents import Tangents, climbed_tangents, joined, selected
from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import finite_array

# Changes of the evidence up to which tangents are sought from many starts each time, the period after that, and the
# number of starts drawn from the prior; that of a search that checks on them.
_OFTEN, _NOW_AND_THEN, _PRIOR_STARTS, _FRESH_STARTS = 64, 32, 14, 64


class TangentSearch:
    """The tangents of one chain's links at the MAP path of its latents, warm from search to search.

    Parameters
    ----------
    chain : the prior's.
    statistical : L maps of `statistical_surrogates`; the mean path that they give is one of the starts.
    seed : of the starts drawn from the prior; the search is a function of it, the evidence and its changes.
    all_modes : keep every mode that matters, not the densest alone.

    Attributes
    ----------
    maps : L tangents, of the last search's densest path.
    path : L arrays (d,), that path; empty before the first search.
    modes : tangents at all modes kept, (M, d) a level, the densest first; None where that is the only one.
    """

    def __init__(
        self, chain: Chain, statistical: Sequence[AffineMap], seed: Sequence[int], all_modes: bool = False
    ) -> None:
        self._chain = chain
        self._statistical = list(statistical)
        self._seed = list(seed)
        self._all_modes = all_modes
        self.maps: list[AffineMap] = self._statistical
        self.path: list[Array] = []
        self.modes: Tangents | None = None

    def search(self, message: Evidence, changes: int) -> None:
        """Find the tangents anew.

        Parameters
        ----------
        message : on ``f_1(psi_1)``, (d, d) and (d,).
        changes : of the evidence so far: while they are few, and then now and then, many starts are tried and the
            densest path is kept; at powers of two, and then as often, every mode.

        Notes
        -----
        Local modes. Deterministic. One pass of O(L d^3) from the last paths, a few from each of many starts.
        """
        if self.starts_afresh(changes):
            found, others = raced_tangents(self._chain, message, self.starts(message, changes))
            modes = None
            if self.looks_for_modes(changes):
                modes = modes_of(self._chain, message, found, others)
            elif self.modes is not None:
                followed = climbed_tangents(self._chain, message, self.modes)
                modes = distinct_modes(self._chain, message, joined([as_row(self._chain, found), followed]))
        elif self.modes is None:
            found, modes = climbed_tangents(self._chain, message, Tangents(self.maps, self.path, np.zeros(()))), None
        else:  # the modes are followed; which of them matter is looked at again when many starts are tried
            modes = climbed_tangents(self._chain, message, self.modes)
            modes = selected(modes, densest_first(modes.log_density))
            found = selected(modes, 0)
        self.keep(found, modes)

    def starts_afresh(self, changes: int) -> bool:
        """Whether a search after so many changes of the evidence tries many starts."""
        return not self.path or changes <= _OFTEN or changes % _NOW_AND_THEN == 0

    def looks_for_modes(self, changes: int) -> bool:
        """Whether such a search looks for modes that are not kept yet."""
        return self._all_modes and (changes & (changes - 1) == 0 or changes % _NOW_AND_THEN == 0)

    def starts(self, message: Evidence, changes: int) -> list[Array]:
        """The paths from which such a search goes, (n, d) a level."""
        return self._starts(message, np.random.default_rng([*self._seed, changes]), _PRIOR_STARTS)

    def keep(self, found: Tangents, modes: Tangents | None) -> None:
        """Keep what a search found: the densest path's tangents, and those at all modes."""
        self.maps, self.path = found.surrogates, found.path
        self.modes = modes if modes is not None and len(modes.log_density) > 1 else None

    @property
    def guides(self) -> list[AffineMap]:
        """L tangents, of every mode, (M, d, d), where several are kept."""
        return self.maps if self.modes is None else self.modes.surrogates

    def modes_afresh(self, message: Evidence) -> Tangents:
        """Tangents at the modes, (M, d) a level, that a search from more and other starts finds; nothing is kept."""
        rng = np.random.default_rng([*self._seed, 1 << 31])
        found, others = raced_tangents(self._chain, message, self._starts(message, rng, _FRESH_STARTS))
        return modes_of(self._chain, message, found, others)

    def mode_coverage(
        self, message: Evidence, guides: Sequence[AffineMap], num_particles: int, defensive: float
    ) -> float:
        """`visited_mass` of the modes found by `modes_afresh`, by particles with those guides: some ms."""
        found = self.modes_afresh(message)
        return visited_mass(self._chain, message, guides, found, num_particles, defensive)

    def _starts(self, message: Evidence, rng: np.random.Generator, size: int) -> list[Array]:
        """Paths to search from, (n, d) a level: the last ones, the statistical surrogates', ``size`` prior draws."""
        psi = np.zeros((size, len(message.h)))
        drawn = []
        for ell in range(len(self._chain.links), 0, -1):
            root = self._chain.roots[ell]
            psi = psi + rng.standard_normal((size, root.shape[1])) @ root.T
            drawn.append(psi)
            psi = self._chain.links[ell - 1](psi)
        messages = upward_messages(self._chain, self._statistical, message)
        smooth = smoothed_path(self._chain, self._statistical, messages)
        known = self.path if self.modes is None else self.modes.path
        return [np.vstack([*known[i : i + 1], smooth[i], drawn[-1 - i]]) for i in range(len(smooth))]

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        state: dict[str, Array | IntArray] = {
            "weight": np.array([surrogate.weight for surrogate in self.maps]),
            "offset": np.array([surrogate.offset for surrogate in self.maps]),
            "path": np.array(self.path),
        }
        if self.modes is not None:
            d = len(self.path[0])
            M = len(self.modes.log_density)
            state["modes.path"] = np.array(self.modes.path)  # (L, M, d)
            state["modes.weight"] = np.array([np.broadcast_to(A, (M, d, d)) for A, _ in self.modes.surrogates])
            state["modes.offset"] = np.array([np.broadcast_to(c, (M, d)) for _, c in self.modes.surrogates])
        return state

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        L, d = len(self._chain.links), len(self._chain.roots[0])
        weights, offsets = (
            finite_array(name, state[name], (L, d, d)[:n]) for name, n in (("weight", 3), ("offset", 2))
        )
        self.maps = [AffineMap(A, c) for A, c in zip(weights, offsets, strict=True)]
        path = np.asarray(state["path"], float)
        self.path = list(path if path.shape == (0,) else finite_array("path", path, (L, d)))
        self.modes = None
        if "modes.path" in state:
            path = finite_array("modes.path", state["modes.path"], (L, None, d))
            M = path.shape[1]
            weights = finite_array("modes.weight", state["modes.weight"], (L, M, d, d))
            offsets = finite_array("modes.offset", state["modes.offset"], (L, M, d))
            # Affine links have one map for all rows.
            maps = [
                AffineMap(A[0], c[0]) if link.affine else AffineMap(A, c)
                for link, A, c in zip(self._chain.links, weights, offsets, strict=True)
            ]
            self.modes = Tangents(maps, list(path), np.zeros(path.shape[1]))


def densest_first(log_density: Array) -> list[int]:
    """The rows with the densest before the others."""
    densest = int(log_density.argmax())
    return [densest, *(row for row in range(len(log_density)) if row != densest)]


def side_by_side(searches: Sequence[TangentSearch]) -> tuple[list[AffineMap], BoolArray]:
    """L tangents of the modes of independent chains, (M, k, d, d), and (M, k) which only fill up the first axis."""
    modes = [
        [search.maps]
        if search.modes is None
        else [selected(search.modes, row).surrogates for row in range(len(search.modes.log_density))]
        for search in searches
    ]
    most = max(map(len, modes))
    padded = [own + [own[0]] * (most - len(own)) for own in modes]  # chains, modes, levels
    maps = [
        AffineMap(*(np.array([[own[m][i][part] for own in padded] for m in range(most)]) for part in (0, 1)))
        for i in range(len(padded[0][0]))
    ]
    return maps, np.arange(most)[:, None] >= [len(own) for own in modes]
