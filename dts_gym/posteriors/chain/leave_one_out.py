"""The distribution of an action's parameters given the other actions' data, for the expansion of its own rewards.

The expansion point must not depend on whether the latents have learned the action's last rewards: under the action's
conditional prior at the latents' mode, a narrow ``Sigma_1`` would hold the point where the latents were before the
reward came.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.chain.chain import AffineMap, Chain
from dts_gym.posteriors.evidence import Evidence, condition
from dts_gym.utils.arrays import Array


def parameter_law(chain: Chain, maps: Sequence[AffineMap], level: int, others: Evidence) -> tuple[Array, Array]:
    """Moments of an action's parameters given the other actions' data, as if the surrogates were the links.

    Parameters
    ----------
    chain : the prior's chain.
    maps : L maps (d, d) and (d,), the action's own where levels are its own.
    level : 1..L, the value ``f_level`` that the others' data are about; zero evidence where there is none.
    others : (d, d) and (d,) evidence on that value.

    Returns
    -------
    (d,), (d, d)
        Mean and covariance, exact for the given maps. O(L d^3).

    Examples
    --------
    >>> from dts_gym.priors import LinearDiffusionPrior
    >>> from dts_gym.posteriors.chain.chain import as_chain
    >>> from dts_gym.posteriors.chain.surrogates import statistical_surrogates
    >>> chain = as_chain(LinearDiffusionPrior([2 * np.eye(1)], [np.eye(1), np.eye(1)]))
    >>> maps = statistical_surrogates(chain, np.random.default_rng(0))
    >>> parameter_law(chain, maps, 1, Evidence(np.zeros((1, 1)), np.zeros(1)))
    (array([0.]), array([[5.]]))
    """
    mean: Array = np.zeros(len(others.h))
    cov = chain.covariances[-1]
    for ell in range(len(maps), 0, -1):
        A, c = maps[ell - 1]
        mean, cov = A @ mean + c, A @ cov @ A.T
        if ell == level and others.G.any():
            mean, root = condition(mean, others, (cov + cov.T) / 2)
            cov = root @ root.T
        cov = cov + chain.covariances[ell - 1]
    return mean, (cov + cov.T) / 2


def law_without(
    chain: Chain, maps: Sequence[AffineMap], table: ActionTable, total: Evidence, action: int
) -> tuple[Array, Array]:
    """`parameter_law` of an action where all levels are shared, from the sum of all actions' messages.

    Parameters
    ----------
    total : (d, d) and (d,) evidence on ``f_1(psi_1)``, in the parameters' coordinates; the action's own is subtracted.
    """
    slot = table.slots.get(action)
    if slot is None:
        return parameter_law(chain, maps, 1, total)
    own = table.messages(slot)
    return parameter_law(chain, maps, 1, Evidence(total.G - own.G, total.h - own.h))
