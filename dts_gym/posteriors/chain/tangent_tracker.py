"""Tangents updated as evidence grows: searched from the last ones, and occasionally from many starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, Chain
from dts_gym.posteriors.chain.messages import smoothed_path, upward_messages
from dts_gym.posteriors.chain.tangents import Tangents, densest_tangents, followed_tangents
from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import Array, IntArray

# Changes of the evidence up to which tangents are sought from many starts each time, the period after that, and the
# number of starts drawn from the prior.
_OFTEN, _NOW_AND_THEN, _PRIOR_STARTS = 64, 32, 14


class TangentSearch:
    """The tangents of one chain's links at the MAP path of its latents, warm from search to search.

    Parameters
    ----------
    chain : the prior's chain.
    statistical : L maps of `statistical_surrogates`, whose mean path is one of the starts.
    seed : seed for the starts drawn from the prior; the search is a function of it, the evidence and its changes.

    Attributes
    ----------
    maps : L tangents, of the last search.
    path : L arrays (d,), the path of the last search; empty before the first.
    """

    def __init__(self, chain: Chain, statistical: Sequence[AffineMap], seed: Sequence[int]) -> None:
        self._chain = chain
        self._statistical = list(statistical)
        self._seed = list(seed)
        self.maps: list[AffineMap] = self._statistical
        self.path: list[Array] = []

    def search(self, message: Evidence, changes: int) -> None:
        """Find the tangents anew.

        Parameters
        ----------
        message : evidence on ``f_1(psi_1)``, (d, d) and (d,).
        changes : number of changes of the evidence so far: while they are few, and occasionally later, many starts are
            tried and the densest path is kept.

        Notes
        -----
        A local mode. Deterministic. One pass of O(L d^3) from the last path, a few from each of many starts.
        """
        if self.path and changes > _OFTEN and changes % _NOW_AND_THEN:
            found = followed_tangents(self._chain, message, Tangents(self.maps, self.path, np.zeros(())))
        else:
            found = densest_tangents(self._chain, message, self._starts(message, changes))
        self.maps, self.path = found.surrogates, found.path

    def _starts(self, message: Evidence, changes: int) -> list[Array]:
        """Paths from which tangents are sought, (n, d) a level: the last, the statistical surrogates', prior draws."""
        rng = np.random.default_rng([*self._seed, changes])
        psi = np.zeros((_PRIOR_STARTS, len(message.h)))
        drawn = []
        for ell in range(len(self._chain.links), 0, -1):
            root = self._chain.roots[ell]
            psi = psi + rng.standard_normal((_PRIOR_STARTS, root.shape[1])) @ root.T
            drawn.append(psi)
            psi = self._chain.links[ell - 1](psi)
        messages = upward_messages(self._chain, self._statistical, message)
        smooth = smoothed_path(self._chain, self._statistical, messages)
        known = [self.path, smooth] if self.path else [smooth]
        return [np.vstack([*(path[i] for path in known), drawn[-1 - i]]) for i in range(len(smooth))]

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {
            "weight": np.array([surrogate.weight for surrogate in self.maps]),
            "offset": np.array([surrogate.offset for surrogate in self.maps]),
            "path": np.array(self.path),
        }

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        weights, offsets = np.asarray(state["weight"], float), np.asarray(state["offset"], float)
        self.maps = [AffineMap(A, c) for A, c in zip(weights, offsets, strict=True)]
        self.path = list(np.asarray(state["path"], float))
