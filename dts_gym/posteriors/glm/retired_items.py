"""What retired items' rewards tell of the effects, expanded again as others' data move them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import GLMTable, Mode
from dts_gym.posteriors.glm.map_expansion import NormalPrior
from dts_gym.posteriors.glm.renewal import expanded_again, looked_at, stalest
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.columns import Columns

# Items whose rewards are kept; what those retired before them told stays as it was last expanded.
_MOST = 256


class RetiredItems:
    """What retired items tell of the effects that all share, the last of them with their rewards.

    Parameters
    ----------
    model : distribution of the rewards.
    dim : d, the dimension of an item's parameters.
    num_effects : r, the number of the effects' coordinates ``z``, of prior ``N(0, I)``.
    expansion : where rewards are expanded, see `GLMTable`.

    Notes
    -----
    An item's parameters are ``center + maps z + R e`` with ``e ~ N(0, I)``. O(r d + n d) numbers an item, of n sites.
    No rewards are kept that are never expanded again: Gaussian ones, those of "mle", and where nothing is shared.
    """

    def __init__(self, model: RewardModel, dim: int, num_effects: int, expansion: Mode) -> None:
        self._glm = GLMTable(model, dim, expansion)
        self._expands = num_effects > 0 and expansion != "mle" and not isinstance(model, GaussianReward)
        self._frozen = Evidence(np.zeros((num_effects, num_effects)), np.zeros(num_effects))  # of rewards not kept
        square = ((dim, dim), np.float64)
        self._columns = Columns(
            {
                "maps": ((dim, num_effects), np.float64),
                "center": ((dim,), np.float64),
                "root": square,
                "gamma": square,
                "beta": ((dim,), np.float64),
            }
        )

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def is_empty(self) -> bool:
        """Whether no item was retired that had told anything."""
        return not (len(self) or self._frozen.G.any() or self._frozen.h.any())

    def take(self, glm: GLMTable, action: int, maps: Array, center: Array, root: Array) -> None:
        """Take an action with its rewards out of a table.

        Parameters
        ----------
        glm, action : the table, and the number of an action of it.
        maps, center, root : (d, r), (d,) and (d, k), its parameters are ``center + maps z + root e``.
        """
        G, h = (part[glm.slots[action]] for part in glm.evidence())
        told = past_own_part(G, h - G @ center, root)
        if not self._expands:
            self._freeze(Evidence(maps.T @ told.G @ maps, told.h @ maps))
            glm.remove(action)
            return
        self._glm.adopt(int(self._glm.actions.max(initial=-1)) + 1, glm, action)
        row = len(self)
        self._columns.append()
        for name, array in (("maps", maps), ("center", center), ("gamma", told.G), ("beta", told.h)):
            self._columns[name][row] = array
        self._columns["root"][row, :, : root.shape[1]] = root
        if len(self) > _MOST:  # the item that was retired first
            row = int(self._glm.actions.argmin())
            self._freeze(self._of(row))
            self._glm.remove(int(self._glm.actions[row]))
            self._columns.remove(row)

    def _freeze(self, told: Evidence) -> None:
        """Keep what an item tells of ``z``, in place of its rewards."""
        self._frozen = Evidence(self._frozen.G + told.G, self._frozen.h + told.h)

    def _of(self, row: int) -> Evidence:
        maps, gamma, beta = (self._columns[name][row] for name in ("maps", "gamma", "beta"))
        return Evidence(maps.T @ gamma @ maps, beta @ maps)

    def total(self) -> Evidence:
        """What all tell of ``z``: (r, r) and (r,)."""
        maps, gamma, beta = (self._columns.used(name) for name in ("maps", "gamma", "beta"))
        G = np.einsum("nda,nde,neb->ab", maps, gamma, maps, optimize=True)
        return Evidence(self._frozen.G + G, self._frozen.h + np.einsum("nd,nda->a", beta, maps))

    def renew(self, sums: Evidence, turn: int) -> Evidence | None:
        """Expand the stalest item's rewards again, if some are stale, see `renewal.renew`.

        Parameters
        ----------
        sums : precision (r, r) and natural mean (r,) of ``z`` given all data.
        turn : number of the update; each looks at the next 64 items.

        Returns
        -------
        Evidence or None
            By how much what it tells of ``z`` changes, (r, r) and (r,).
        """
        if not len(self):
            return None
        slots, columns = looked_at(turn, len(self)), self._columns
        maps, root, gamma, beta = (columns[name][slots] for name in ("maps", "root", "gamma", "beta"))
        moved = maps @ np.linalg.solve(sums.G, sums.h)
        own = np.matvec(root, np.vecmat(beta - np.matvec(gamma, moved), root))
        slot = stalest(self._glm, slots, columns["center"][slots] + moved + own)
        if slot is None:
            return None
        before = self._of(slot)
        others = Evidence(sums.G - before.G, sums.h - before.h)
        again = expanded_again(self._glm, int(self._glm.actions[slot]), lambda _: self._prior(slot, others))
        if again is None:
            return None
        G, h = again
        columns["gamma"][slot], columns["beta"][slot] = past_own_part(
            G, h - G @ columns["center"][slot], columns["root"][slot]
        )
        after = self._of(slot)
        return Evidence(after.G - before.G, after.h - before.h)

    def _prior(self, row: int, others: Evidence) -> NormalPrior:
        maps, root = self._columns["maps"][row], self._columns["root"][row]
        half = solved(others, maps)
        turned = half[:, :-1].T
        mean = self._columns["center"][row] + turned @ half[:, -1]
        return self._glm.prior(mean, turned @ turned.T + root @ root.T)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit; none where no item told anything."""
        if self.is_empty:
            return {}
        frozen: dict[str, Array | IntArray] = {"precision": self._frozen.G.copy(), "natural": self._frozen.h.copy()}
        if not len(self):
            return frozen
        glm = self._glm.state()
        glm["numbers"] = glm.pop("actions")
        items = {**self._columns.state(), **{f"glm.{name}": array for name, array in glm.items()}}
        return {**frozen, **{f"items.{name}": array for name, array in items.items()}}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._columns.shorten(0)
        for number in self._glm.actions.tolist():
            self._glm.remove(number)
        if state:
            frozen = (np.array(state[name], dtype=np.float64) for name in ("precision", "natural"))
            self._frozen = Evidence(*frozen)
        else:
            self._frozen = Evidence(*(np.zeros_like(part) for part in self._frozen))
        items = {name.removeprefix("items."): array for name, array in state.items() if name.startswith("items.")}
        if items:
            self._columns.restore(items)
            glm = {name.removeprefix("glm."): array for name, array in items.items() if name.startswith("glm.")}
            self._glm.restore({**glm, "actions": glm["numbers"]})


def solved(evidence: Evidence, maps: Array) -> Array:
    """``L^-1 [maps' | natural mean]`` with ``L L'`` the precision of ``z``, (r, n + 1).

    The covariance of ``maps z`` is the product of the first n columns' transpose with them, and its mean is that
    transpose times the last column.
    """
    return np.asarray(np.linalg.solve(np.linalg.cholesky(evidence.G), np.column_stack([maps.T, evidence.h])))


def past_own_part(G: Array, h: Array, R: Array) -> Evidence:
    """Evidence past a noise ``R R'``: ``(I + G R R')^-1`` times ``G`` and ``h``, PSD however large ``G`` is."""
    values, vectors = np.linalg.eigh((G + G.T) / 2)
    kept = values > 1e-15 * max(float(values[-1]), 0.0)
    if not kept.any():
        return Evidence(np.zeros_like(G), h)
    roots = np.sqrt(values[kept])
    L = vectors[:, kept] * roots  # G = L L', and h = L w + rest
    w = (h @ vectors[:, kept]) / roots
    rest = h - L @ w
    turned, spread, _ = np.linalg.svd(L.T @ R)
    grown = np.ones(len(turned))
    grown[: len(spread)] += spread**2
    half = (L @ turned) / np.sqrt(grown)  # (I + G S)^-1 L L' is half half'
    inner = turned.T @ (w - (L.T @ R) @ (R.T @ rest))
    return Evidence(half @ half.T, half @ (inner / np.sqrt(grown)) + rest)
