"""Tangents kept up with growing evidence: searched from where they were, and now and then from many starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dts_gym.arrays import Array, IntArray
from dts_gym.messages import Evidence, condition
from dts_gym.surrogates import AffineMap, Chain, jacobian_surrogates, upward_messages

# Changes of the evidence up to which tangents are sought from many starts each time, the period after that, and the
# number of starts drawn from the prior.
_OFTEN, _NOW_AND_THEN, _PRIOR_STARTS = 64, 32, 14


class TangentSearch:
    """The tangents of one chain's links at the MAP path of its latents, warm from search to search.

    Parameters
    ----------
    chain : the prior's.
    statistical : L maps of `statistical_surrogates`; the mean path that they give is one of the starts.
    seed : of the starts drawn from the prior; the search is a function of it, the evidence and its changes.

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
        message : on ``f_1(psi_1)``, (d, d) and (d,).
        changes : of the evidence so far: while they are few, and then now and then, many starts are tried and the
            densest path is kept.

        Notes
        -----
        A local mode. Deterministic. A few passes of O(L d^3), from each start.
        """
        many = not self.path or changes <= _OFTEN or changes % _NOW_AND_THEN == 0
        starts = self._starts(message, changes) if many else [psi[None] for psi in self.path]
        G, h = message
        n = len(starts[0])
        rows = Evidence(np.broadcast_to(G, (n, *G.shape)), np.broadcast_to(h, (n, *h.shape)))
        found = jacobian_surrogates(self._chain, rows, 0, starts)
        best = int(found.log_density.argmax())
        self.maps = [
            AffineMap(*(part[best] if part.ndim > i else part for i, part in ((2, A), (1, c))))
            for A, c in found.surrogates
        ]
        self.path = [psi[best] for psi in found.path]

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
        smooth = self._smoothed_path(message)
        known = [smooth] if not self.path else [self.path, smooth]
        return [np.vstack([*(path[i] for path in known), drawn[-1 - i]]) for i in range(len(smooth))]

    def _smoothed_path(self, message: Evidence) -> list[Array]:
        """The most probable path were the statistical surrogates the links."""
        messages = upward_messages(self._chain, self._statistical, message)
        mean: Array = np.zeros(len(message.h))
        path: list[Array] = []
        for ell in range(len(self._chain.links), 0, -1):
            if path:
                A, c = self._statistical[ell]  # of f_{ell+1}
                mean = A @ path[-1] + c
            path.append(condition(mean, messages.latents[ell - 1], self._chain.covariances[ell])[0])
        return path[::-1]

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {
            "weight": np.array([surrogate.weight for surrogate in self.maps]),
            "offset": np.array([surrogate.offset for surrogate in self.maps]),
            "path": np.array(self.path),
        }

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Take over what `state` gave."""
        weights, offsets = np.asarray(state["weight"], float), np.asarray(state["offset"], float)
        self.maps = [AffineMap(A, c) for A, c in zip(weights, offsets, strict=True)]
        self.path = list(np.asarray(state["path"], float))
