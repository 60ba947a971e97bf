"""Means of scores under a fixed value of the shared part: bounds by them show which few actions can be best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.fast.switch import kernels
from dts_gym.utils.arrays import Array

# A table of fewer numbers than this is read whole: 1 MB.
_FROM = 1 << 17
_NO_ROWS = np.empty((0, 1)), np.empty(0)


class Reference:
    """``beta_a + T_a at`` of the played actions, for a value ``at`` of the shared part near its posterior mean.

    Given a draw ``m`` of the shared part, the mean of a score is ``u'(beta_a + T_a at) + u'T_a (m - at)``; the second
    is at most ``|u| |m - at|``, which gets small as the shared part is learned. So a bound of every score costs O(d),
    and few actions are scored exactly. This is a cache: it is not saved, and choices do not depend on ``at``.

    Parameters
    ----------
    table : table of the played actions; none of its rows may be changed without its knowing (`ActionTable.touched`).
    """

    def __init__(self, table: ActionTable) -> None:
        self._table = table
        self._of: NDArray[np.generic] | None = None  # the column of which this is computed
        self._at, self._centers = np.empty(0), np.empty((0, table.dim))

    def read(self, mean: Array, root: Array) -> tuple[Array, Array]:
        """``beta + T at`` (P, d) and ``at`` (d,), as of now; of length 0 where the actions should all be scored.

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
        if len(table) * table.packed_dim < _FROM or table.is_wide or column.base is not None or not table.reached.all():
            return _NO_ROWS  # rows that are views of shared arrays may change unseen
        off = mean - self._at if self._of is column else mean
        if self._of is not column or off @ off > np.vdot(root, root):
            self._of, self._at = column, mean.copy()
            self._centers = np.empty((len(column), table.dim))
            table.touched.update(range(len(table)))
        if table.touched:
            slots = np.fromiter(table.touched, dtype=np.int64, count=len(table.touched))
            kernels().center_rows(table.cov, table.beta, self._at, slots, self._centers)
            table.touched.clear()
        return self._centers[: len(table)], self._at
