"""The tables of many runs as stacked arrays; each run's own table is a view of its part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.action_table import ActionTable, Increments, Seen
from dts_gym.posteriors.evidence import Evidence
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.columns import stacked


class RunTables:
    """The tables of R runs, with room for all K actions of each.

    The tables that are given keep working, for reading and writing: their arrays are views of the stacked ones until
    `part`. Where a table of actions and n contexts has arrays (P, n), this has (K, R): each run has a context. Rows
    that a run has not played yet hold the table's origin.

    Parameters
    ----------
    tables : R tables of double precision, of equal dimension and rank of ``S``.
    num_actions : K.

    Attributes
    ----------
    basis : (R, d, d), as `ActionTable.basis`.
    inverse : (R, d, d), as `ActionTable.inverse`.
    reached : (R, d), as `ActionTable.reached`.
    counts : (R,) number of played actions.
    """

    def __init__(self, tables: Sequence[ActionTable], num_actions: int) -> None:
        self._tables = list(tables)
        self._columns = stacked([table.columns for table in tables], num_actions)
        self._outweighs = np.stack([table.outweighs for table in tables])
        self.basis = np.stack([table.basis for table in tables])
        self.inverse = np.stack([table.inverse for table in tables])
        self._basis_t = np.stack([table.basis.T for table in tables])
        self.reached = np.stack([table.reached for table in tables])
        self._runs = np.arange(len(tables))
        self.counts = np.array([len(table) for table in tables])
        for table, rows in zip(tables, self._columns["cov"], strict=True):
            rows[len(table) :] = table.origin

    def turned(self, x: Array) -> Array:
        """Contexts (R, d) in the tables' coordinates."""
        return np.asarray(np.matvec(self._basis_t, x))

    def weighed(self, u: Array) -> Array:
        """``u' beta`` of every row, (K, R)."""
        return np.asarray(np.matvec(self._columns["beta"], u).T)

    def forms(self, u: Array, m: Array | None) -> tuple[Array | None, Array]:
        """``u' T m`` (None without ``m``) and ``u' T u`` of every row, (K, R) each."""
        own, cov = self._tables[0], self._columns["cov"]
        quadratic = np.matvec(cov, own.quadratic_query(u).T).T
        return (None if m is None else np.matvec(cov, own.bilinear_query(u, m).T).T), quadratic

    def products(self, u: Array) -> Array:
        """``T u`` of every row, (R, K, d)."""
        return np.asarray(self._columns["cov"] @ self._tables[0].product_query(u))

    def messages(self) -> Evidence:
        """The messages of every row, (R, K, d, d) and (R, K, d), in the tables' coordinates; zeros of unplayed ones."""
        own = self._tables[0]
        return Evidence(own.unpack(own.packed_gamma(self._columns, slice(None))), self._columns["beta"])

    def actions_at(self, rows: IntArray) -> IntArray:
        """The actions of a row of each run, (R,)."""
        return np.asarray(self._columns["actions"][self._runs, rows])

    def rows_of(self, actions: IntArray) -> IntArray:
        """The rows of an action of each run, (R,): where it will have one if it has none."""
        pairs = zip(self._tables, actions.tolist(), strict=True)
        return np.array([table.slots.get(action, len(table)) for table, action in pairs])

    def opened(self, actions: IntArray) -> IntArray:
        """`rows_of`, with rows for the actions that are new."""
        rows = np.array([table.slot_of(action) for table, action in zip(self._tables, actions.tolist(), strict=True)])
        self.counts = np.maximum(self.counts, rows + 1)
        return rows

    def message_of(self, runs: IntArray, rows: IntArray) -> Evidence:
        """The messages of a row of each of some runs, (k, d, d) and (k, d)."""
        own = self._tables[0]
        return Evidence(own.unpack(own.packed_gamma(self._columns, (runs, rows))), self._columns["beta"][runs, rows])

    def followed(self, rows: IntArray, m: Array) -> tuple[Array, Array]:
        """Natural means and ``T m`` of some rows (R, k) of each run, (R, k, d) each."""
        at = (self._runs[:, None], rows)
        return self._columns["beta"][at], self._columns["cov"][at] @ self._tables[0].product_query(m)

    def replace(self, runs: IntArray, rows: IntArray, G: Array, h: Array) -> Evidence:
        """`ActionTable.replace` in a row of each of some runs."""
        return self._tables[0].replaced(self._columns, (runs, rows), self.basis[runs], G, h)

    def total(self, run: int) -> Evidence:
        """`ActionTable.total` of a run."""
        return self._tables[run].total()

    def seen(self, actions: IntArray, contexts: Array, targets: Array, variance: Array) -> Seen:
        """An observation of each run, with rows for the actions that are new: (R,), (R, d), (R,) and (R,)."""
        flat = {name: array.reshape(-1, *array.shape[2:]) for name, array in self._columns.items()}
        rows = self.opened(actions) + self._columns["actions"].shape[1] * self._runs
        return Seen(flat, rows, contexts, self.turned(contexts), self.reached, targets, variance)

    def weights_after(self, seen: Seen) -> Array:
        """`ActionTable.weights_after` in every run, (R,)."""
        return self._tables[0].weights_after(seen, self._outweighs)

    def increments_of(self, seen: Seen) -> Increments:
        """`ActionTable.increments_of` in every run."""
        return self._tables[0].increments_of(seen)

    def take_in(self, seen: Seen, increments: Increments) -> None:
        """`ActionTable.take_in` in every run."""
        self._tables[0].take_in(seen, increments)

    def part(self) -> None:
        """Give every table arrays of its own again."""
        for table in self._tables:
            table.columns.restore(table.columns.state())
