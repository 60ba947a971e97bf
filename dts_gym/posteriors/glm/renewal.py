"""Which action's rewards to expand again: the data of others move its parameters away from where it was expanded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import GLMTable
from dts_gym.posteriors.glm.map_expansion import NormalPrior
from dts_gym.utils.arrays import Array, BoolArray, IntArray

# An expansion is stale where the mean has moved by this many deviations that the action's own evidence would have.
_STALE = 0.25
# Number of actions that an update checks.
_LOOKED_AT = 64


def renew(
    glm: GLMTable,
    table: ActionTable,
    center: Array,
    shared: Array,
    prior: Callable[[int], NormalPrior],
    turn: int,
) -> Evidence | None:
    """Expand the stalest of some played actions again, if it is stale.

    Parameters
    ----------
    glm, table : the expansions and the messages of the same actions.
    center : (d,), to be added to the table's parameters.
    shared : mean given all data of the value around which the actions' parameters are distributed: (d,) for all, or
        (P, d) for each played action; in the table's coordinates.
    prior : function from an action to the distribution of its parameters given the other actions' data.
    turn : number of the update; each checks the next 64 actions.

    Returns
    -------
    Evidence or None
        The change of that action's message, (d, d) and (d,), in the table's coordinates; None where none is stale.

    Notes
    -----
    An expansion is stale by the distance that other actions' data have moved the action's mean since, in deviations of
    the action's own evidence. Below a quarter of a deviation this leaves errors of some hundredths of a posterior
    standard deviation. The cost is O(d^2) for each action that is checked.
    """
    slots = looked_at(turn, len(table))
    cov, m = table.cov[slots], shared[slots] if shared.ndim == 2 else shared
    followed = np.matvec(table.unpack(cov), m) if m.ndim == 2 else cov @ table.product_query(m)
    means = means_given(table.beta[slots], followed, table.reached, m)
    slot = stalest(glm, slots, center + means @ table.basis.T)
    if slot is None:
        return None
    action = int(table.actions[slot])
    again = expanded_again(glm, action, prior)
    return None if again is None else table.replace(action, again.G, again.h - again.G @ center)


def looked_at(turn: int | IntArray, num_rows: int | IntArray) -> IntArray:
    """The rows that an update of that number checks, (k,); of R tables, (R, 1) each, (R, k), some twice."""
    most = min(_LOOKED_AT, num_rows if isinstance(num_rows, int) else int(num_rows.max()))
    return np.asarray((turn * _LOOKED_AT + np.arange(most)) % num_rows)


def means_given(beta: Array, followed: Array, reached: Array, shared: Array) -> Array:
    """Means (..., k, d) of actions' parameters given the shared part's value, in their table's coordinates.

    Parameters
    ----------
    beta, followed : (..., k, d), natural means of the actions' messages, and ``T`` times the value, see `ActionTable`.
    reached : (d,), or (..., 1, d) of several tables, as in `ActionTable`.
    shared : the value around which an action is distributed, (d,), (..., 1, d) or (..., k, d).
    """
    # The mean is reached (beta - Gamma m) + m, and T is diag(reached) - Gamma.
    return np.asarray(beta * reached + np.where(reached > 0, followed, shared))


def stalest(glm: GLMTable, slots: IntArray, means: Array) -> int | None:
    """The row, of some, whose expansion is the most stale; None where none is.

    ``means`` (k, d) are the actions' parameters' means given all data.
    """
    at, is_stale = most_moved(means - glm.means[slots], glm.evidence().G[slots])
    return int(slots[at]) if is_stale else None


def most_moved(moved: Array, G: Array) -> tuple[IntArray, BoolArray]:
    """Which of k means (..., k, d) has moved the most by its evidence ``G`` (..., k, d, d), and whether by too much."""
    distance = np.vecdot(np.vecmat(moved, G), moved)
    return distance.argmax(axis=-1), distance.max(axis=-1) > _STALE**2


def expanded_again(glm: GLMTable, action: int, prior: Callable[[int], NormalPrior]) -> Evidence | None:
    """An action's rewards expanded anew; None where products overflow: then the old expansion stands."""
    try:
        return glm.expand_again(action, prior(action))
    except ValueError:
        return None
