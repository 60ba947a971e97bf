"""The table of played actions: what each has seen, and the message it sends to the shared part.

Only played actions have a row. A row holds its evidence ``(G, h)`` in natural form and, ready for use, what
has passed the action's own noise ``S``: ``Gamma = (I + G S)^-1 G`` and ``beta = (I + G S)^-1 h``, updated by rank
one. Symmetric matrices are stored packed (the upper triangle, row by row): a round reads half the bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dts_gym.arrays import Array, IntArray
from dts_gym.messages import through_noise

# A row is computed anew from (G, h) after this many rank-one updates, so that rounding cannot pile up.
REFRESH_EVERY = 256


class Increment(NamedTuple):
    """What one observation adds to an action's message: ``v v' / variance`` and ``v residual / variance``."""

    v: Array  # (d,)
    variance: float
    residual: float


class ActionTable:
    """Evidence and messages of the played actions.

    Parameters
    ----------
    action_cov : (d, d) PSD, ``S``, the noise of an action around the shared part; may be singular.

    Notes
    -----
    Exact. ``observe`` costs O(d^2), and O(d^3) once in `REFRESH_EVERY`. Memory grows with the number of
    played actions, ``d (d + 3)`` floats each.
    """

    def __init__(self, action_cov: Array) -> None:
        d = action_cov.shape[0]
        self.dim = d
        self.action_cov = action_cov
        self.rows, self.cols = np.triu_indices(d)
        self.packed_dim = self.rows.size
        unpack = np.empty((d, d), dtype=np.intp)
        unpack[self.rows, self.cols] = unpack[self.cols, self.rows] = np.arange(self.packed_dim)
        self._unpack = unpack
        # A packed matrix times these weights is the full quadratic form: off-diagonals count twice.
        self._quad_weights = np.where(self.rows == self.cols, 1.0, 2.0)
        self._cross_weights = np.where(self.rows == self.cols, 0.5, 1.0)
        self.slots: dict[int, int] = {}
        self._allocate(0)

    def _allocate(self, capacity: int) -> None:
        self._actions = np.empty(capacity, dtype=np.int64)
        self._gamma = np.empty((capacity, self.packed_dim))
        self._beta = np.empty((capacity, self.dim))
        self._G = np.empty((capacity, self.packed_dim))
        self._h = np.empty((capacity, self.dim))
        self._updates = np.empty(capacity, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def actions(self) -> IntArray:
        """(P,) the played actions, in the order of their first play."""
        return self._actions[: len(self.slots)]

    @property
    def gamma(self) -> Array:
        """(P, d (d + 1) / 2) packed messages' precisions."""
        return self._gamma[: len(self.slots)]

    @property
    def beta(self) -> Array:
        """(P, d) messages' natural means."""
        return self._beta[: len(self.slots)]

    def unpack(self, packed: Array) -> Array:
        """Packed (..., d (d + 1) / 2) to symmetric (..., d, d)."""
        return packed[..., self._unpack]

    def evidence(self) -> tuple[Array, Array]:
        """``G`` (P, d, d) and ``h`` (P, d) of the played actions."""
        P = len(self.slots)
        return self.unpack(self._G[:P]), self._h[:P].copy()

    def observe(self, action: int, context: Array, target: float, variance: float) -> Increment:
        """Add one Gaussian observation ``target ~ N(context' theta, variance)``.

        Returns
        -------
        Increment
            What the observation adds to the action's message; the sums over actions add it too.
        """
        slot = self.slots.get(action)
        if slot is None:
            slot = self._append(action)
        u = self.action_cov @ context
        gamma, beta = self._gamma[slot], self._beta[slot]
        v = context - gamma.take(self._unpack) @ u  # (d,)
        total = variance + float(u @ v)
        residual = target - float(beta @ u)
        gamma += v.take(self.rows) * (v / total).take(self.cols)
        beta += v * (residual / total)
        scaled = context / variance
        self._G[slot] += context.take(self.rows) * scaled.take(self.cols)
        self._h[slot] += scaled * target
        self._updates[slot] += 1
        return Increment(v, total, residual)

    def stale(self, action: int) -> bool:
        """Whether the action's row is due for `refresh`."""
        return bool(self._updates[self.slots[action]] >= REFRESH_EVERY)

    def refresh(self, action: int) -> None:
        """Compute the action's message anew from its evidence: O(d^3)."""
        slot = self.slots[action]
        gamma, beta = through_noise(self.unpack(self._G[slot]), self._h[slot], self.action_cov)
        self._gamma[slot] = gamma[self.rows, self.cols]
        self._beta[slot] = beta
        self._updates[slot] = 0

    def total_message(self) -> tuple[Array, Array]:
        """``sum_a Gamma_a`` (d, d) and ``sum_a beta_a`` (d,) over the played actions: O(P d^2)."""
        return self.unpack(self.gamma.sum(axis=0)), self.beta.sum(axis=0)

    def quadratic_queries(self, u: Array) -> Array:
        """(n, d) to (packed, n): ``gamma @ query`` is ``u' Gamma u``."""
        return (u[..., self.rows] * u[..., self.cols] * self._quad_weights).T

    def bilinear_queries(self, u: Array, m: Array) -> Array:
        """(n, d), (n, d) to (packed, n): ``gamma @ query`` is ``u' Gamma m``."""
        first = u[..., self.rows] * m[..., self.cols]
        return ((first + u[..., self.cols] * m[..., self.rows]) * self._cross_weights).T

    def product_query(self, u: Array) -> Array:
        """(d,) to (packed, d): ``gamma @ query`` is ``Gamma u``."""
        query = np.zeros((self.packed_dim, self.dim))
        index = np.arange(self.packed_dim)
        np.add.at(query, (index, self.rows), u[self.cols])
        off = self.rows != self.cols
        np.add.at(query, (index[off], self.cols[off]), u[self.rows[off]])
        return query

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        P = len(self.slots)
        return {
            "actions": self._actions[:P].copy(),
            "gamma": self._gamma[:P].copy(),
            "beta": self._beta[:P].copy(),
            "G": self._G[:P].copy(),
            "h": self._h[:P].copy(),
            "updates": self._updates[:P].copy(),
        }

    def restore(self, state: dict[str, Array | IntArray]) -> None:
        """Take over what `state` gave."""
        P = len(state["actions"])
        self._allocate(P)
        for name, array in state.items():
            getattr(self, f"_{name}")[:] = array
        self.slots = {int(action): slot for slot, action in enumerate(state["actions"])}

    def _append(self, action: int) -> int:
        slot = len(self.slots)
        if slot == len(self._actions):
            kept = self.state()
            self._allocate(max(16, 2 * slot))
            for name, array in kept.items():
                getattr(self, f"_{name}")[:slot] = array
        self._actions[slot] = action
        for array in (self._gamma, self._beta, self._G, self._h):
            array[slot] = 0.0
        self._updates[slot] = 0
        self.slots[action] = slot
        return slot
