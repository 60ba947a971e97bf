"""Means of scores under a fixed value of the shared part: bounds by them show which few actions can be best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.fast.switch import kernels
from dts_gym.utils.arrays import Array

# A table of fewer numbers than this is read whole: 1 MB.
_FROM = 1 << 17
_AT_ONCE = 256  # rows whose matrices are unpacked together


class Near(NamedTuple):
    """Where means of scores are known: ``beta + T at`` of the played actions (P, d), and ``at`` (d,)."""

    centers: Array
    at: Array


NOWHERE = Near(np.empty((0, 1)), np.empty(0))  # they are not


class Reference:
    """``beta_a + T_a at`` of the played actions, for a value ``at`` of the shared part near its posterior mean.

    Given a draw ``m`` of the shared part, the mean of a score is ``u'(beta_a + T_a at) + u'T_a (m - at)``; the second
    is at most ``|u| |m - at|``, which gets small as the shared part is learned. So a bound of every score costs O(d),
    and few actions are scored exactly. This is a cache: it is not saved, and choices do not depend on ``at``.

    Parameters
    ----------
    table : table of the played actions; none of its rows may be changed without its knowing (`ActionTable.touched`).
    is_fast : whether compiled kernels are used.
    """

    def __init__(self, table: ActionTable, is_fast: bool) -> None:
        self._table, self._is_fast = table, is_fast
        self._of: NDArray[np.generic] | None = None  # the column of which this is computed
        self._at, self._centers = np.empty(0), np.empty((0, table.dim))

    def read(self, mean: Array, root: Array) -> Near:
        """The means as of now; `NOWHERE` where the actions should all be scored.

        Parameters
        ----------
        mean, root : (d,) and (d, r) posterior mean of the shared part, and a root of its covariance.

        Notes
        -----
        O(d^2) for each row changed since the last time. When the mean has moved by a deviation of the shared part, it
        is the new ``at``: O(P d^2), each time that the variance has halved.
        """
        table = self._table
        column = table.columns["cov"]
        if len(table) * table.packed_dim < _FROM or table.is_wide or table.is_stacked or not table.reached.all():
            return NOWHERE  # rows that are views of shared arrays may change unseen
        off = mean - self._at if self._of is column else mean
        if self._of is not column or off @ off > np.vdot(root, root):
            self._of, self._at = column, mean.copy()
            self._centers = np.empty((len(column), table.dim))
            table.touched.update(range(len(table)))
        if table.touched:
            slots = np.fromiter(table.touched, dtype=np.int64, count=len(table.touched))
            if self._is_fast:
                kernels().center_rows(table.cov, table.beta, self._at, slots, self._centers)
            else:
                for part in np.array_split(slots, 1 + len(slots) // _AT_ONCE):
                    self._centers[part] = table.beta[part] + table.matrices(part) @ self._at
            table.touched.clear()
        return Near(self._centers[: len(table)], self._at)
