"""The table of played actions: the evidence of each, and the message it sends to the shared part.

Only played actions have a row. A row holds its evidence ``(G, h)`` in natural form and, ready for use, its message, the
evidence after the action's own noise ``S``: ``Gamma = (I + G S)^-1 G`` and ``beta = (I + G S)^-1 h``, updated by rank
one. Symmetric matrices are stored packed (the upper triangle, row by row): a round reads half the bytes.

Two things keep rounding at the size of one operation's, whatever the number of rewards, the noise and ``S``. Messages
are kept in coordinates in which ``S`` is a diagonal of ones and zeros, ``S = basis diag(reached) basis'``; so where
``S`` is nearly singular or singular, the large entries of ``Gamma`` do not round off the small. And their sums are
compensated (Kahan). Computing a row anew from ``(G, h)`` now and then would not do: in directions that no context
has had, the rounding of ``G`` is as large as ``eps |G S|``.

What is stored is not ``Gamma`` but ``T = diag(reached) - Gamma``, the action's covariance given the shared part (and,
where ``S`` reaches a part only, minus the rest of ``Gamma``): the variance of a score is then ``u' T u``, in which no
digits cancel, however much of ``S`` is known. In a float32 table scores read ``T`` rounded to single precision, and a
second array holds in double precision what rounding took; updates read both, and are those of a float64 table. (In
single precision that array would cost up to a hundredth of a posterior deviation where rewards are precise.)

Float64 itself rounds too much where an action's rewards outweigh its prior by more than some 1e8, in the trace of
precisions. Such an action has a row in `PreciseActions` too: what its rewards add is computed there, and posteriors
with such rows (`precise` is not empty) read its scores there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.evidence import Evidence, past_own_noise
from dts_gym.posteriors.precise_actions import PreciseActions
from dts_gym.posteriors.precise_rows import LIMIT, Observation
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.columns import Columns
from dts_gym.utils.twofold import Twofold

Dtype = Literal["float64", "float32"]

# An action's deviation along a context counts as known where less than this of its prior variance is left (times d).
_UNIT = float(np.finfo(np.float64).eps)
KNOWN = 4.0 * _UNIT
# A row in float64 is off by up to KNOWN d of its prior's variances, and so by a hundredth of what is left of them where
# its rewards outweigh the prior by this over d.
HEAVIEST = 0.01 / KNOWN
# A float32 row is off by 1e-3 of a deviation at most where the trace of scaled precision and covariance, times d, is
# below this; else its float64 numbers are read.
_ROUNDS_OFF = 1 << 14
# Numbers of a block that stays in a core's cache from one use to the next: 1 MB.
_CACHED = 1 << 17
# A layer of fewer observations than this is processed one by one.
_FEW = 3


def checked_dtype(value: Any) -> Dtype:
    """Return ``value``, the precision of the matrices that scores read; else raise ValueError."""
    if not isinstance(value, str) or value not in get_args(Dtype):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {value!r:.200}")
    return value  # type: ignore[return-value]


class Increment(NamedTuple):
    """The contribution of one observation to an action's message: ``v v' / variance`` and ``v residual / variance``.

    As evidence on the shared part, it is one observation ``residual ~ N(v' m, variance)``; where the action's row is a
    precise one, ``precise`` is the same observation in twofold precision, in the parameters' coordinates.
    """

    v: Array  # (d,)
    variance: float
    residual: float
    precise: Observation | None = None

    def evidence(self) -> Evidence:
        """The increment as evidence, (d, d) and (d,)."""
        return _one_evidence(self.v, np.asarray(self.variance), np.asarray(self.residual))


class Increments(NamedTuple):
    """The contributions of n observations, each as in `Increment`."""

    v: Array  # (n, d)
    variance: Array  # (n,)
    residual: Array  # (n,)
    precise: dict[int, Observation]  # by the observation's number, where a row is a precise one

    def evidence(self) -> Evidence:
        """The increments as evidence, (n, d, d) and (n, d)."""
        return _one_evidence(self.v, self.variance, self.residual)


class Seen(NamedTuple):
    """Observations of k rows that are all different.

    Attributes
    ----------
    columns : the arrays of a table, or those of several whose rows stand in one.
    slots : (k,) rows of the columns.
    contexts, x : (k, d) contexts, and the same in the coordinates of each row's table.
    reached : (d,), or (k, d) that of each row's table.
    targets, variance : (k,), and (k,) or one for all: ``target ~ N(context' (theta - center), variance)``.
    """

    columns: Mapping[str, NDArray[Any]]
    slots: IntArray
    contexts: Array
    x: Array
    reached: Array
    targets: Array
    variance: Array | float


class ActionTable:
    """Evidence and messages of the played actions.

    Parameters
    ----------
    action_cov : (d, d) PSD, ``S``, the noise of an action around the shared part; may be singular.
    dtype : precision of ``cov``, which scores read: "float64" or "float32".
    center : (d,) prior mean of the parameters, None for zeros: rewards are centred by it.
    shared_cov : (d, d) PSD prior covariance of the shared part; None where evidence is replaced and not observed: then
        no row is a precise one.

    Notes
    -----
    Exact. ``observe`` costs O(d^2). Memory grows with the number of played actions, ``3 d (d + 3) / 2`` floats
    each, nearly a third of them of half the size in float32.

    Attributes
    ----------
    dtype : the precision of ``cov``.
    basis : (d, d), from the table's coordinates to the parameters': ``theta = basis @ theta_in_table``.
    inverse : (d, d), its inverse.
    reached : (d,) ones and zeros, ``S`` in the table's coordinates.
    origin : (d (d + 1) / 2) packed ``T`` before any data.
    columns : the rows' arrays.
    outweighs : (d (d + 1) / 2), times a row's packed ``G``: the trace of ``G (S + C)``, by how much its rewards
        outweigh the prior.
    is_wide : whether a float32 table has rows whose float64 numbers are read.
    precise : the rows that are kept in twofold precision too.
    touched : rows that have changed; whoever keeps what follows from them empties it.
    """

    def __init__(
        self,
        action_cov: Array,
        dtype: Dtype = "float64",
        center: Array | None = None,
        shared_cov: Array | None = None,
    ) -> None:
        d = action_cov.shape[0]
        self.dim, self.dtype = d, dtype
        R = factor(action_cov)  # (d, r)
        r = R.shape[1]
        std = np.linalg.norm(R, axis=1, keepdims=True)
        unit = np.where(std > 0, std, 1.0)
        rest = np.linalg.svd(R / unit)[0][:, r:]  # (d, d - r), what S does not reach
        self.basis = np.hstack([R, unit * rest])
        self.inverse = np.vstack([np.linalg.pinv(R / unit), rest.T]) / unit.T
        self.reached = (np.arange(d) < r).astype(np.float64)
        self.rows, self.cols = np.triu_indices(d)
        self.packed_dim = self.rows.size
        unpack = np.empty((d, d), dtype=np.intp)
        unpack[self.rows, self.cols] = unpack[self.cols, self.rows] = np.arange(self.packed_dim)
        self._unpack = unpack
        self.origin = np.diag(self.reached)[self.rows, self.cols]  # of T, before any data
        # A packed matrix times these weights is the full quadratic form: off-diagonals count twice.
        self._quad_weights = np.where(self.rows == self.cols, 1.0, 2.0)
        self._cross_weights = np.where(self.rows == self.cols, 0.5, 1.0)
        self._block = max(64, 8 * _CACHED // (self.packed_dim * np.dtype(dtype).itemsize))
        # Of the block past what S reaches, which no score reads, a float32 table keeps nothing: it may be too large.
        self._kept = self.reached if dtype == "float32" else np.ones(d)
        self._center = center
        center = np.zeros(d) if center is None else center
        self._limit = np.inf if shared_cov is None else LIMIT
        shared_cov = np.zeros((d, d)) if shared_cov is None else shared_cov
        self.precise = PreciseActions(center, action_cov, shared_cov, self.basis, self.inverse, self.reached)
        self.outweighs = (action_cov + shared_cov)[self.rows, self.cols] * self._quad_weights
        # A packed ``G`` times these is the diagonal of ``G`` in the table's coordinates.
        self._axes = self.quadratic_query(self.basis.T)
        self._diagonal = np.flatnonzero(self.rows == self.cols)
        self.constants = tuple(  # of the compiled kernels
            np.array(each, dtype=np.float64, order="C")
            for each in (self.basis, self.reached, self._kept, self.outweighs, center)
        )
        self._wide: set[int] = set()  # rows of a float32 table whose float64 numbers are read
        # No row whose rewards outweigh the prior by less is wide.
        self._wide_from = _ROUNDS_OFF / d - d if dtype == "float32" else np.inf
        self.slots: dict[int, int] = {}
        self.touched: set[int] = set()
        packed = (self.packed_dim,)
        self.columns = Columns(
            {
                "actions": ((), np.int64),
                "cov": (packed, dtype),
                "beta": ((d,), np.float64),
                "G": (packed, np.float64),
                "h": ((d,), np.float64),
                "cov_carry": (packed, np.float64),
                "beta_carry": ((d,), np.float64),
            }
        )

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def actions(self) -> IntArray:
        """(P,) the played actions, in the order of their first play."""
        return self.columns.used("actions")

    @property
    def cov(self) -> Array | NDArray[np.float32]:
        """(P, d (d + 1) / 2) packed ``T = diag(reached) - Gamma``, in the table's coordinates."""
        return self.columns.used("cov")

    @property
    def beta(self) -> Array:
        """(P, d) messages' natural means, in the table's coordinates."""
        return self.columns.used("beta")

    def gamma(self, slots: IntArray | list[int] | int | None = None) -> Array:
        """Copy ``Gamma`` of rows (None: all), (k, d, d), or of one row, (d, d), in the table's coordinates.

        In a float32 table without the block past what ``S`` reaches, which is zero there.
        """
        rows: Any = slice(len(self.slots)) if slots is None else slots
        return self.unpack(self.packed_gamma(self.columns.arrays, rows))

    def packed_gamma(self, columns: Mapping[str, NDArray[Any]], rows: Any) -> Array:
        """Packed ``Gamma`` of rows of a table's arrays, or of those of several that stand in one."""
        # The first difference is exact where little has been learned; the carry then has the digits of what has.
        return np.asarray((self.origin - columns["cov"][rows]) - columns["cov_carry"][rows])

    def unpack(self, packed: Any) -> Array:
        """Packed (..., d (d + 1) / 2) to symmetric (..., d, d)."""
        return np.asarray(packed.take(self._unpack, axis=-1))

    def to_parameters(self, message: Evidence) -> Evidence:
        """A message in the table's coordinates as one in the parameters': (..., d, d) and (..., d)."""
        return transformed(message, self.inverse)

    def messages(self, slots: IntArray | list[int] | int) -> Evidence:
        """Messages of rows in the parameters' coordinates, (k, d, d) and (k, d), or of one row (d, d) and (d,)."""
        return self.to_parameters(Evidence(self.gamma(slots), self.beta[slots]))

    def evidence(self) -> tuple[Array, Array]:
        """``G`` (P, d, d) and ``h`` (P, d) of the played actions, about the parameters themselves."""
        return self.unpack(self.columns.used("G")), self.columns.used("h").copy()

    def observe(self, action: int, context: Array, reward: float, variance: float) -> Increment:
        """Add one Gaussian observation ``reward ~ N(context' theta, variance)``.

        Returns
        -------
        Increment
            What the observation adds to the action's message, in the table's coordinates.
        """
        slot = self.slot_of(action)
        self.touched.add(slot)
        scaled = context / variance
        G = self.columns["G"][slot] + context.take(self.rows) * scaled.take(self.cols)
        target = reward if self._center is None else reward - float(context @ self._center)
        seen, weight = None, float(G @ self.outweighs)
        if weight > self._limit:
            exact, seen = self._observe_precisely(np.array([slot]), context[None], np.array([reward]), variance)
            v, total, residual = exact[0][0], float(exact[1][0]), float(exact[2][0])
        else:
            x = context @ self.basis
            u = x * self.reached
            v = x - u + (self.columns["cov"][slot] + self.columns["cov_carry"][slot]).take(self._unpack) @ u  # (d,)
            spread = float(u @ v)
            if spread <= KNOWN * self.dim * float(u @ u):
                # Nothing but rounding is left of the action's own part: only what S does not reach can be learned.
                v, spread = v - v * self.reached, 0.0
            total = variance + spread
            residual = target - float(self.columns["beta"][slot] @ u)
        _add(
            self.columns["cov"][slot],
            self.columns["cov_carry"][slot],
            (v * self._kept).take(self.rows) * (v / -total).take(self.cols),
        )
        _add(self.columns["beta"][slot], self.columns["beta_carry"][slot], v * (residual / total))
        self.columns["G"][slot] = G
        self.columns["h"][slot] += scaled * target
        if weight > self._wide_from:
            self._widen_one(slot)
        return Increment(v, total, residual, seen)

    def after_compiled(self, slot: int, weight: float) -> None:
        """What is left of `observe` for a row that a compiled kernel has changed, with the weight that it returned."""
        self.touched.add(slot)
        if weight > self._wide_from:
            self._widen_one(slot)

    @property
    def is_wide(self) -> bool:
        """Whether a float32 table has rows whose float64 numbers are read."""
        return bool(self._wide)

    def _widen(self, slots: IntArray) -> None:
        """Find out for which of these rows of a float32 table single precision does not do."""
        cov = self.columns["cov"][slots][:, self._diagonal] + self.columns["cov_carry"][slots][:, self._diagonal]
        scaled = (cov * self.reached * (1.0 + self.columns["G"][slots] @ self._axes)).sum(axis=1)
        wide = scaled * self.dim > _ROUNDS_OFF
        self._wide.difference_update(slots[~wide].tolist())
        self._wide.update(slots[wide].tolist())

    def _widen_one(self, slot: int) -> None:
        """As `_widen`, for one row."""
        cov = self.columns["cov"][slot].take(self._diagonal) + self.columns["cov_carry"][slot].take(self._diagonal)
        cov *= self.reached
        if (float(cov.sum()) + float((self.columns["G"][slot] @ self._axes) @ cov)) * self.dim > _ROUNDS_OFF:
            self._wide.add(slot)
        elif self._wide:
            self._wide.discard(slot)

    def matrices(self, slots: IntArray) -> Array | NDArray[np.float32]:
        """``T`` of some rows, (k, d, d), as scores read it."""
        T = self.cov[slots]
        if self._wide:
            at = [i for i, slot in enumerate(slots.tolist()) if slot in self._wide]
            T = T.astype(np.float64)
            T[at] += self.columns["cov_carry"][slots[at]]
        return np.asarray(self.unpack(T))

    def _wide_rows(self) -> tuple[IntArray, Array]:
        """Wide rows' numbers, and their packed ``T`` in float64."""
        slots = np.array(sorted(self._wide), dtype=np.int64)
        return slots, self.cov[slots] + self.columns["cov_carry"][slots]

    def _observe_precisely(
        self, slots: IntArray, contexts: Array, rewards: Array, variance: float
    ) -> tuple[tuple[Array, Array, Array], Observation]:
        """What observations add to different rows, which are precise ones from now on and learn them here."""
        for slot in slots.tolist():
            if slot not in self.precise.rows:
                self._make_precise(slot, is_new=not self.columns["G"][slot].any())
        seen = self.precise.observe(slots, contexts, rewards, variance)
        return (Twofold.of(seen.x).high @ self.basis, seen.variance.high, seen.value.high), seen

    def _make_precise(self, slot: int, is_new: bool, lost: float = 0.0) -> None:
        T = Twofold(self.columns["cov"][slot]) + self.columns["cov_carry"][slot]
        full = Twofold(self.unpack(T.high), self.unpack(T.low))
        self.precise.adopt(slot, None if is_new else full, self.columns["beta"][slot], lost)

    def observe_all(self, actions: IntArray, contexts: Array, rewards: Array, variance: float) -> Increments:
        """`observe` n times, (n,), (n, d) and (n,), in array operations; the same to rounding.

        Notes
        -----
        Exact. O(n d^2). Worked off in layers: layer j holds the (j + 1)-th observation of each action, so that the
        actions of a layer are distinct, and each action's observations are taken in their order. Given the shared part
        what n observations add are n independent scalar observations of it.
        """
        n, d = contexts.shape
        out = Increments(np.empty((n, d)), np.empty(n), np.empty(n), {})
        slots = self._slots_of(actions)
        order = np.argsort(slots, kind="stable")
        starts = np.flatnonzero(np.diff(slots[order], prepend=-1))
        turn = np.empty(n, dtype=np.intp)  # how many observations of the same action come before
        turn[order] = np.arange(n) - np.repeat(starts, np.diff(starts, append=n))
        by_turn = np.argsort(turn, kind="stable")
        part = max(_FEW, _CACHED // (d * d))
        for layer in np.split(by_turn, np.cumsum(np.bincount(turn))[:-1]):
            if len(layer) < _FEW:
                for i in layer.tolist():
                    one = self.observe(int(actions[i]), contexts[i], float(rewards[i]), variance)
                    out.v[i], out.variance[i], out.residual[i] = one[:3]
                    if one.precise is not None:
                        out.precise[i] = one.precise
                continue
            for start in range(0, len(layer), part):
                rows = layer[start : start + part]
                part_of = self._observe_distinct(slots[rows], contexts[rows], rewards[rows], variance)
                out.v[rows], out.variance[rows], out.residual[rows] = part_of[:3]
                out.precise.update((int(rows[i]), seen) for i, seen in part_of.precise.items())
        return out

    def _observe_distinct(self, slots: IntArray, contexts: Array, rewards: Array, variance: float) -> Increments:
        """`observe`, line by line, of k rows that are all different: (k,), (k, d) and (k,)."""
        self.touched.update(slots.tolist())
        targets = rewards if self._center is None else rewards - contexts @ self._center
        seen = Seen(self.columns.arrays, slots, contexts, contexts @ self.basis, self.reached, targets, variance)
        increments = self.increments_of(seen)
        weights = self.weights_after(seen, self.outweighs)
        at = np.flatnonzero(weights > self._limit)
        if at.size:
            exact, told = self._observe_precisely(slots[at], contexts[at], rewards[at], variance)
            for array, values in zip(increments[:3], exact, strict=True):
                array[at] = values
            increments.precise.update((i, told.one(j)) for j, i in enumerate(at.tolist()))
        self.take_in(seen, increments)
        self._widen(slots[weights > self._wide_from])
        return increments

    def weights_after(self, seen: Seen, outweighs: Array) -> Array:
        """By how much rewards outweigh the prior of each observation's row, (k,), once it is taken in.

        ``outweighs`` is the table's own, (packed,), or that of each row's table, (k, packed).
        """
        return np.asarray(np.vecdot(seen.columns["G"][seen.slots] + self._evidence(seen), outweighs))

    def refuse_heavy(self, action: int, context: Array, variance: float) -> None:
        """Raise ValueError where a row in float64 would not hold `observe`; of tables without precise rows."""
        slot, reach = self.slots.get(action), context @ self.basis * self.reached
        weight = float(reach @ reach) / variance
        weight += 0.0 if slot is None else float(self.columns["G"][slot] @ self.outweighs)
        if not weight <= HEAVIEST / self.dim:
            raise ValueError(
                f"context must let an action's rewards outweigh its prior by at most {HEAVIEST / self.dim:.3g}, got "
                f"{weight:.3g} with {context}: only posteriors in closed form hold more. Divide contexts by "
                "their scale, or state noise_std= and the prior in the rewards' units"
            )

    def _evidence(self, seen: Seen) -> Array:
        scaled = seen.contexts / np.reshape(seen.variance, (-1, 1))
        return np.asarray(seen.contexts.take(self.rows, axis=1) * scaled.take(self.cols, axis=1))

    def increments_of(self, seen: Seen) -> Increments:
        """What observations add to the messages of their rows, none of which is a precise one."""
        columns, slots, u = seen.columns, seen.slots, seen.x * seen.reached
        cov = self.unpack(columns["cov"][slots] + columns["cov_carry"][slots])
        v = seen.x - u + np.matvec(cov, u)  # (k, d)
        spread = np.einsum("ij,ij->i", u, v)
        known = spread <= KNOWN * self.dim * np.einsum("ij,ij->i", u, u)
        if known.any():
            v = np.where(known[:, None], v - v * seen.reached, v)
            spread[known] = 0.0
        residual = seen.targets - np.einsum("ij,ij->i", columns["beta"][slots], u)
        return Increments(v, seen.variance + spread, residual, {})

    def take_in(self, seen: Seen, increments: Increments) -> None:
        """Add to the rows the observations, and what `increments_of` says of them."""
        columns, slots = seen.columns, seen.slots
        v, total, residual, _ = increments
        cov, cov_carry = columns["cov"][slots], columns["cov_carry"][slots]
        beta, beta_carry = columns["beta"][slots], columns["beta_carry"][slots]
        kept = seen.reached if self.dtype == "float32" else 1.0
        _add(cov, cov_carry, (v * kept).take(self.rows, axis=1) * (v / -total[:, None]).take(self.cols, axis=1))
        _add(beta, beta_carry, v * (residual / total)[:, None])
        columns["cov"][slots], columns["cov_carry"][slots] = cov, cov_carry
        columns["beta"][slots], columns["beta_carry"][slots] = beta, beta_carry
        columns["G"][slots] += self._evidence(seen)
        columns["h"][slots] += seen.contexts / np.reshape(seen.variance, (-1, 1)) * seen.targets[:, None]

    def replace(self, action: int, G: Array, h: Array) -> Evidence:
        """Replace an action's evidence about its parameters, as a refitted one does: O(d^3); not in float32.

        Returns
        -------
        Evidence
            By how much its message changes, (d, d) and (d,), in the table's coordinates.
        """
        assert self.dtype == "float64"
        slot = self.slot_of(action)
        self.touched.add(slot)
        return self.replaced(self.columns.arrays, slot, self.basis, G, h)

    def replaced(self, columns: Mapping[str, NDArray[Any]], rows: Any, basis: Array, G: Array, h: Array) -> Evidence:
        """`replace` in rows of a table's arrays, or of those of several that stand in one, each with its ``basis``."""
        (gamma, beta), left = past_own_noise(basis.mT @ G @ basis, np.vecmat(h, basis), int(self.reached.sum()))
        change = Evidence(gamma - self.unpack(self.packed_gamma(columns, rows)), beta - columns["beta"][rows])
        columns["cov"][rows], columns["cov_carry"][rows] = left[..., self.rows, self.cols], 0.0
        columns["beta"][rows], columns["beta_carry"][rows] = beta, 0.0
        columns["G"][rows], columns["h"][rows] = G[..., self.rows, self.cols], h
        return change

    def total(self) -> Evidence:
        """The sum of all messages, (d, d) and (d,), in the table's coordinates: O(P d^2)."""
        gamma = self.packed_gamma(self.columns.arrays, slice(len(self.slots)))
        return Evidence(self.unpack(gamma.sum(axis=0)), self.beta.sum(axis=0))

    def forms(self, u: Array, m: Array | None) -> tuple[Array | None, Array]:
        """``u' T m`` (None without ``m``) and ``u' T u`` of every played action: (P,) or (P, n).

        Parameters
        ----------
        u : (d,) or (n, d).
        m : as ``u``, or None.
        """
        queries = [self.quadratic_query(u)] if m is None else [self.bilinear_query(u, m), self.quadratic_query(u)]
        forms = self._forms([query.astype(self.dtype, copy=False) for query in queries], u.ndim == 2)
        if self._wide:
            slots, T = self._wide_rows()
            forms = [form.astype(np.float64) for form in forms]
            for form, query in zip(forms, queries, strict=True):
                form[slots] = T @ query
        return (None, forms[0]) if m is None else (forms[0], forms[1])

    def _forms(self, queries: list[Array], are_many: bool) -> list[Array]:
        """``cov`` times each query."""
        if are_many or len(queries) == 1:
            return [self.cov @ query for query in queries]
        # One reading of the matrices serves both forms: a block stays in the cache for the second.
        out = np.empty((2, len(self.slots)), dtype=self.dtype)
        for start in range(0, len(self.slots), self._block):
            rows = slice(start, start + self._block)
            for query, form in zip(queries, out, strict=True):
                np.dot(self.cov[rows], query, out=form[rows])
        return list(out)

    def quadratic_query(self, u: Array) -> Array:
        """(d,) or (n, d) to (packed,) or (packed, n): ``T @ query`` is ``u' T u``."""
        return (u.take(self.rows, axis=-1) * u.take(self.cols, axis=-1) * self._quad_weights).T

    def bilinear_query(self, u: Array, m: Array) -> Array:
        """As `quadratic_query`, for ``u' T m``."""
        first = u.take(self.rows, axis=-1) * m.take(self.cols, axis=-1)
        first += u.take(self.cols, axis=-1) * m.take(self.rows, axis=-1)
        first *= self._cross_weights
        return first.T

    def products(self, u: Array) -> Array | NDArray[np.float32]:
        """``T u`` of every played action: (d,) to (P, d)."""
        followed = np.asarray(self.cov @ self.product_query(u))
        if self._wide:
            slots, T = self._wide_rows()
            followed = followed.astype(np.float64)
            followed[slots] = self.unpack(T) @ u
        return followed

    def product_query(self, u: Array) -> Array:
        """(..., d) to (..., packed, d): ``T @ query`` is ``T u``."""
        query: Any = np.zeros((*u.shape[:-1], self.packed_dim, self.dim), dtype=self.dtype)
        every = np.arange(self.packed_dim)
        query[..., every, self.rows] = u[..., self.cols]
        query[..., every, self.cols] = u[..., self.rows]
        return np.asarray(query)

    def turned(self, x: Array) -> Array:
        """Contexts (d,) or (n, d) in the table's coordinates."""
        return np.asarray(x @ self.basis)

    def weighed(self, u: Array) -> Array:
        """``u' beta`` of every played action: (P,) or (P, n)."""
        return np.asarray(self.beta @ u.T)

    @property
    def is_stacked(self) -> bool:
        """Whether the rows are views of arrays that several tables share, as long as their runs advance together."""
        return self.columns["cov"].base is not None

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        precise = {f"precise.{name}": array for name, array in self.precise.state().items()}
        return self.columns.state() | precise

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.columns.restore(state)
        self.slots = {int(action): slot for slot, action in enumerate(self.actions)}
        self._wide, self.touched = set(), set(range(len(self.slots)))
        weights = self.columns.used("G") @ self.outweighs
        self._widen(np.flatnonzero(weights > self._wide_from))
        prefix = "precise."
        self.precise.restore({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
        for slot in np.flatnonzero(weights > self._limit).tolist():
            if slot not in self.precise.rows:  # of a file from before there were such rows: what was lost is lost
                self._make_precise(slot, is_new=False, lost=_UNIT * float(weights[slot]))

    def slot_of(self, action: int) -> int:
        slot = self.slots.get(action)
        if slot is None:
            self._append([action])
            slot = self.slots[action]
        return slot

    def remove(self, action: int) -> None:
        """Remove a played action's row, whose place the last row takes; O(d^2)."""
        slot, last = self.slots.pop(action), len(self.slots)  # one less now
        moved = int(self.actions[last])
        self.columns.remove(slot)
        self.precise.remove(slot, last)
        self._wide.discard(slot)
        self.touched.discard(last)
        if slot != last:
            self.slots[moved] = slot
            self.touched.add(slot)
            if last in self._wide:
                self._wide.remove(last)
                self._wide.add(slot)

    def _slots_of(self, actions: IntArray) -> IntArray:
        """(n,) rows of the actions; new actions get theirs in the order in which they appear."""
        numbers = actions.tolist()
        self._append([action for action in dict.fromkeys(numbers) if action not in self.slots])
        return np.array([self.slots[action] for action in numbers], dtype=np.int64)

    def _append(self, actions: list[int]) -> None:
        """Add empty rows for actions that have none."""
        begin = len(self.slots)
        self.columns.append(len(actions))
        self.actions[begin:], self.cov[begin:] = actions, self.origin
        self.slots.update(zip(actions, range(begin, begin + len(actions)), strict=True))


def _one_evidence(v: Array, variance: Array, residual: Array) -> Evidence:
    scaled = v / variance[..., None]
    return Evidence(v[..., :, None] * scaled[..., None, :], v * (residual / variance)[..., None])


def transformed(message: Evidence, inverse: Array) -> Evidence:
    """Messages (..., d, d) and (..., d) in coordinates of which ``inverse`` (..., d, d) makes the messages' own."""
    return Evidence(np.swapaxes(inverse, -1, -2) @ message.G @ inverse, np.vecmat(message.h, inverse))


def _add(total: Array, carry: Array, increment: Array) -> None:
    """``total += increment`` in place; ``carry`` holds what rounding has cost so far, in float64 always."""
    increment += carry
    before = total.copy()
    total += increment  # a float32 total too is added in float64, then rounded
    np.subtract(before, total, out=carry, dtype=np.float64)
    carry += increment
