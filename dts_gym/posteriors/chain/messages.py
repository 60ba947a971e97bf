"""Messages up a chain through affine surrogates of its links, and the path that is most probable under them.

Messages have rows. With ``branch`` 0 the message on ``f_1(psi_1)`` is the sum over the actions, (d, d) and (d,); with
``branch`` L it has one row an action, (K, d, d) and (K, d), and the rows are independent chains; between, the rows are
summed on the value of link ``branch + 1``, and levels above the branch have no axis of actions. Where rows are
independent there may be any number of leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, Chain, HasChain, spread
from dts_gym.posteriors.evidence import Evidence, log_evidence, matvec, through_link, through_noise
from dts_gym.utils.arrays import Array, BoolArray


class Messages(NamedTuple):
    """Upward messages through surrogates.

    Attributes
    ----------
    values : L evidences, ``values[ell - 1]`` is ``(Gamma_ell, beta_ell)``, on ``f_ell(psi_ell)``.
    latents : L evidences, ``latents[ell - 1]`` is ``(G_ell, h_ell)``, on ``psi_ell``.
    log_offsets : L arrays (...), the log constant that ``latents[ell - 1]`` leaves out of ``values[ell - 1]`` at the
        surrogate of ``psi_ell``: where several surrogates are weighed against each other it counts.
    """

    values: tuple[Evidence, ...]
    latents: tuple[Evidence, ...]
    log_offsets: tuple[Array, ...]


def upward_messages(prior: HasChain, surrogates: Sequence[AffineMap], message: Evidence, branch: int = 0) -> Messages:
    """Evidence on every level, from the evidence on ``f_1(psi_1)``.

    Parameters
    ----------
    prior : a prior, or its chain.
    surrogates : L maps.
    message : evidence on ``f_1(psi_1)``, with rows as described above: with branch 0 the sum over actions.
    branch : between the extremes, rows are summed on the value of link ``branch + 1``.

    Returns
    -------
    Messages
        The messages, exact for the given surrogates. O(rows L d^3).

    Examples
    --------
    >>> from dts_gym.posteriors.chain.surrogates import statistical_surrogates
    >>> from dts_gym.priors import LinearDiffusionPrior
    >>> prior = LinearDiffusionPrior([2 * np.eye(1)] * 2, [np.eye(1)] * 3)
    >>> surrogates = statistical_surrogates(prior, np.random.default_rng(0))
    >>> upward_messages(prior, surrogates, Evidence(np.eye(1), np.ones(1))).latents[1]
    Evidence(G=array([[3.2]]), h=array([0.8]))
    """
    depth = len(prior.links)
    values, latents, log_offsets = [], [], []
    for ell, (A, c) in enumerate(surrogates, start=1):
        if ell == branch + 1 and branch > 0:
            message = Evidence(message.G.sum(axis=-3), message.h.sum(axis=-2))
        values.append(message)
        latents.append(through_link(message, A, c))
        log_offsets.append(log_evidence(message, c[..., None, :])[..., 0])
        if ell < depth:
            message = through_noise(*latents[-1], prior.covariances[ell])  # Sigma_{ell+1}
    return Messages(tuple(values), tuple(latents), tuple(log_offsets))


def without_missing(messages: Messages, missing: BoolArray) -> Messages:
    """Messages with a first axis of modes, of which those of ``missing`` (M, ...) have no mass."""
    first, *rest = messages.log_offsets
    return messages._replace(log_offsets=(np.where(missing, -np.inf, first), *rest))


def with_axes(messages: Messages, low: int, high: int, rank: int, mixed: bool) -> Messages:
    """The messages of levels ``low`` to ``high``, all with an axis of guides and ``rank`` axes of filters after it."""
    top = messages.latents[high - 1].h.shape[:-1]
    shape = top if mixed else (1, *top)
    full = (shape[0], *[1] * (rank + 1 - len(shape)), *shape[1:])

    def alike(array: Array, own: int) -> Array:
        rest = array.shape[array.ndim - own :]
        if array.shape[: array.ndim - own] != top:
            array = np.broadcast_to(array, (*shape, *rest))
        return array.reshape(*full, *rest)

    def all_alike(evidences: Sequence[Evidence]) -> tuple[Evidence, ...]:
        return tuple(Evidence(alike(G, 2), alike(h, 1)) for G, h in evidences[low - 1 : high])

    constants = tuple(alike(constant, 0) for constant in messages.log_offsets[low - 1 : high])
    return Messages(all_alike(messages.values), all_alike(messages.latents), constants)


def smoothed_path(chain: Chain, surrogates: Sequence[AffineMap], messages: Messages, branch: int = 0) -> list[Array]:
    """The most probable path as if the surrogates were the links, given their upward messages: L arrays (..., d)."""
    depth = len(surrogates)
    mean = np.zeros_like(messages.latents[-1].h)
    path: list[Array] = []
    for ell in range(depth, 0, -1):
        if ell < depth:
            A, c = surrogates[ell]  # of f_{ell+1}
            mean = spread(matvec(A, path[-1]) + c, ell, depth, branch)
        G, h = messages.latents[ell - 1]
        cov = chain.covariances[ell]  # Sigma_{ell+1}
        solved = np.linalg.solve(np.eye(cov.shape[-1]) + cov @ G, (mean + np.vecmat(h, cov))[..., None])
        path.append(np.asarray(solved[..., 0], dtype=np.float64))
    return path[::-1]
