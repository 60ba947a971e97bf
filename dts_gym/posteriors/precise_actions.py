"""The actions whose rewards outweigh their prior by more than float64 holds: their rows beside the table's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.precise_rows import Observation, PreciseRows, Readings
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.twofold import Twofold, product


class Followed(NamedTuple):
    """How k scores ``x' theta_a`` follow the shared part.

    Attributes
    ----------
    x, x_error : (k, d), as in `Observation`: the score moves by ``x' m``.
    gain : (k, d) covariances of the action's parameters and its score under a known shared part.
    """

    x: Twofold
    x_error: Array
    gain: Array


class PreciseActions:
    """Rows in twofold precision for some of a table's actions.

    Such a row holds an action's parameters under a shared part of 0, and how their mean follows the shared part, in the
    parameters' own coordinates, where contexts are exact: an action's row moves here, for good, before the first
    observation that the table would round too much.

    Parameters
    ----------
    center : (d,), the mean of the parameters.
    action_cov : (d, d) PSD, ``S``.
    shared_cov : (d, d) PSD covariance of the shared part.
    basis, inverse, reached : the table's coordinates, see `ActionTable`.
    """

    def __init__(
        self, center: Array, action_cov: Array, shared_cov: Array, basis: Array, inverse: Array, reached: Array
    ) -> None:
        self.center = center
        self.rows: dict[int, int] = {}  # by the table's row
        self._action_cov, self._basis, self._inverse, self._reached = action_cov, basis, inverse, reached
        self._store = PreciseRows(len(center), np.sqrt(np.diagonal(shared_cov)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def slots(self) -> IntArray:
        """(S,) the table's rows that are kept here."""
        return np.fromiter(self.rows, dtype=np.int64, count=len(self.rows))

    def adopt(self, slot: int, T: Twofold | None, beta: Array, lost: float = 0.0) -> None:
        """Move a row here: ``T`` (d, d) and ``beta`` (d,) are the table's, None those of an action without data.

        ``lost`` is how far off the row is already, relative to its deviations.
        """
        d = len(self.center)
        mean, follow = Twofold(self.center.copy()), Twofold(np.eye(d))
        if T is None:
            full = self._reached.all()
            cov = Twofold(self._action_cov) if full else product(self._basis, (self._basis * self._reached).T)
        else:
            own = self._basis * self._reached
            cov = product(product(own, T), own.T)
            mean = mean + (Twofold(own) * beta).sum(-1)
            response = T * self._reached[:, None] + np.diag(1.0 - self._reached)
            follow = product(product(self._basis, response), self._inverse)
        self.rows[slot] = self._store.append(mean, cov, follow, lost)

    def remove(self, slot: int, last: int) -> None:
        """Follow the table, which removes a row and puts its last row in the place."""
        row = self.rows.pop(slot, None)
        if row is not None:
            self._store.remove(row)
            # The store's last row has this number now, unless it was this one.
            self.rows = {one: row if at == len(self._store) else at for one, at in self.rows.items()}
        if last in self.rows:
            self.rows[slot] = self.rows.pop(last)
        self.rows = dict(sorted(self.rows.items(), key=lambda pair: pair[1]))

    def observe(self, slots: IntArray, contexts: Array, rewards: Array, variance: float) -> Observation:
        """Add an observation to each of some different rows that are here; returns what they tell the shared part.

        ``variance`` is the square of a deviation, rounded: the root is that deviation, and its square is taken exactly.
        """
        std = np.full(len(slots), np.sqrt(variance))
        noise = Twofold(std) * std
        return self._store.told(self._at(slots), Observation(contexts, Twofold(rewards), noise))

    def read(self, slots: IntArray, context: Array) -> tuple[Readings, Followed]:
        """Scores ``x' theta_a`` under a shared part of 0, and how they follow it, for one context."""
        at, contexts = self._at(slots), np.broadcast_to(context, (len(slots), len(context)))
        readings = self._store.read(at, Twofold(contexts))
        gain = np.matvec(self._store.moments(at)[1], readings.root)
        return readings, Followed(*self._store.follow(at, contexts), gain)

    def moments(self, slots: IntArray) -> tuple[Array, Array, Array]:
        """Parameters' means (k, d), roots of their covariances and how they follow the shared part, (k, d, d) both."""
        return self._store.moments(self._at(slots))

    def _at(self, slots: IntArray) -> IntArray:
        return np.array([self.rows[slot] for slot in slots.tolist()], dtype=np.int64)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit; empty where no row is here."""
        if not self.rows:
            return {}
        return {"slots": self.slots} | self._store.state()

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._store = PreciseRows(len(self.center), self._store.shift_std)
        self.rows = {}
        if state:
            self._store.restore(state)
            self.rows = {int(slot): row for row, slot in enumerate(state["slots"].tolist())}
