"""Surrogates: affine stand-ins for the links, used for the upward messages and for nothing else.

A link that is not affine has no message in closed form. Its surrogate ``psi -> A psi + c`` has one; how well it stands
in for the link sets how many particles the way down needs (`dts_gym.particles`), never what they converge to. Three
choices: `deck_surrogates`, `statistical_surrogates`, `dts_gym.tangents`. An affine link is its own surrogate in the
last two.

Rows of messages. With ``branch`` 0 the message on ``f_1(psi_1)`` is the sum over the actions, (d, d) and (d,); with
``branch`` L it has one row an action, (K, d, d) and (K, d), and the rows are independent chains; between, the rows are
summed on the value of link ``branch + 1``, and levels above the branch have no axis of actions. Where rows are
independent there may be any number of leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np

from dts_gym.messages import Evidence, through_noise
from dts_gym.priors.links import Link, finite_value
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.validation import integer


class AffineMap(NamedTuple):
    """``psi -> weight psi + offset``; (..., d, d) and (..., d), one row an action for the tangents of its own levels.

    Like `dts_gym.priors.links.AffineLink`, with leading axes and without checks: tangents are made anew each round.
    """

    weight: Array
    offset: Array


class HasChain(Protocol):
    """What is read of a prior."""

    @property
    def links(self) -> Sequence[Link]:
        """L links, ``links[ell - 1]`` is ``f_ell``."""

    @property
    def covariances(self) -> tuple[Array, ...]:
        """L + 1 arrays (d, d), ``covariances[ell - 1]`` is ``Sigma_ell``."""


class Chain(NamedTuple):
    """A prior's links and noise, factorised once.

    Attributes
    ----------
    links : L links.
    covariances : L + 1 arrays (d, d).
    roots : L + 1 arrays (d, r), ``R R' = Sigma``, r its rank.
    whiteners : L + 1 arrays (r, d), the pseudo-inverses of the roots.
    padded_roots : (L + 1, d, d), the roots with columns of zeros.
    averages : L maps, each link's slope averaged over the breadth of the prior: where searches start.
    """

    links: tuple[Link, ...]
    covariances: tuple[Array, ...]
    roots: tuple[Array, ...]
    whiteners: tuple[Array, ...]
    padded_roots: Array
    averages: tuple[AffineMap, ...]


class Messages(NamedTuple):
    """Upward messages through surrogates.

    Attributes
    ----------
    values : L evidences, ``values[ell - 1]`` is ``(Gamma_ell, beta_ell)``, on ``f_ell(psi_ell)``.
    latents : L evidences, ``latents[ell - 1]`` is ``(G_ell, h_ell)``, on ``psi_ell``.
    """

    values: tuple[Evidence, ...]
    latents: tuple[Evidence, ...]


def as_chain(prior: HasChain) -> Chain:
    """The prior's chain with its covariances factorised, O(L d^3); a `Chain` is returned as it is.

    Raises
    ------
    ValueError
        If there is no link, or not one covariance more than links.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> [R.shape for R in as_chain(random_linear_prior(3, 2)).roots]
    [(3, 3), (3, 3), (3, 3)]
    """
    if isinstance(prior, Chain):
        return prior
    depth = integer("the number of links of prior", len(prior.links), 1)
    if len(prior.covariances) != depth + 1:
        raise ValueError(f"covariances of prior must be one more than its links: {depth + 1}, {len(prior.covariances)}")
    roots = tuple(factor(cov) for cov in prior.covariances)
    whiteners = tuple(np.asarray(np.linalg.pinv(R), dtype=np.float64) for R in roots)
    links = tuple(prior.links)
    padded = np.stack([np.pad(R, ((0, 0), (0, len(R) - R.shape[1]))) for R in roots])
    return Chain(links, tuple(prior.covariances), roots, whiteners, padded, _averages(links, roots))


def deck_surrogates(prior: HasChain) -> list[AffineMap]:
    """The deck's rule: the identity for every link, affine ones too.

    Returns
    -------
    list of AffineMap
        L times ``A = I, c = 0``. The rule is the slide to the letter: its formulas drop the matrices of the linear
        case.
    """
    d = prior.covariances[0].shape[0]
    return [AffineMap(np.eye(d), np.zeros(d)) for _ in prior.links]


def statistical_surrogates(prior: HasChain, rng: np.random.Generator, num_draws: int = 10_000) -> list[AffineMap]:
    """The best affine predictor of ``psi_{ell-1}`` from ``psi_ell`` under the prior, by regression on draws of it.

    Parameters
    ----------
    prior : a prior, or its chain.
    rng : of the draws; used only where a link is not affine and knows no predictor.
    num_draws : N, more than d.

    Returns
    -------
    list of AffineMap
        L maps. An affine link is its own, exactly; a denoiser's is known from its forward process
        (`dts_gym.priors.links.Link.affine_predictor`); the others carry a Monte Carlo error of order ``N^-1/2``, which
        costs particles, not correctness.

    Notes
    -----
    Least squares of ``f_ell(psi_ell)``, which has the same predictor as ``psi_{ell-1}`` and less noise. Directions
    that ``psi_ell`` never takes have weight zero. Does not depend on data, exploration or branch: once a prior.
    O(L N d^2) and L N link evaluations.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> prior = random_linear_prior(3, 2)
    >>> surrogates = statistical_surrogates(prior, np.random.default_rng(0))
    >>> bool((surrogates[1].weight == prior.weights[1]).all())
    True
    """
    chain = as_chain(prior)
    d = chain.covariances[0].shape[0]
    N = integer("num_draws", num_draws, d + 1)
    surrogates: list[AffineMap] = []
    known = [affine_map(link) if link.affine else _predictor(link) for link in chain.links]
    mean = np.zeros((N, d))
    for ell in range(len(chain.links), 0, -1):
        link, root, given = chain.links[ell - 1], chain.roots[ell], known[ell - 1]  # f_ell, of Sigma_{ell+1}
        if any(earlier is None for earlier in known[:ell]):
            psi = mean + rng.standard_normal((N, root.shape[1])) @ root.T
            mean = finite_value(link, psi, f"links[{ell - 1}]")
        surrogates.append(_regression(psi, mean) if given is None else given)
    return surrogates[::-1]


def default_surrogate(prior: HasChain) -> Literal["jacobian", "statistical"]:
    """The name of the surrogate that serves the prior's links: "statistical" if that is any link's, else "jacobian"."""
    return "statistical" if any(link.surrogate == "statistical" for link in prior.links) else "jacobian"


def upward_messages(prior: HasChain, surrogates: Sequence[AffineMap], message: Evidence, branch: int = 0) -> Messages:
    """Evidence on every level, from the evidence on ``f_1(psi_1)``.

    Parameters
    ----------
    prior : a prior, or its chain.
    surrogates : L maps.
    message : on ``f_1(psi_1)``, rows as at the head of this module: with branch 0 the sum over actions.
    branch : between the extremes, rows are summed on the value of link ``branch + 1``.

    Returns
    -------
    Messages
        Exact for the surrogates given. O(rows L d^3).

    Examples
    --------
    >>> from dts_gym.priors import LinearDiffusionPrior
    >>> prior = LinearDiffusionPrior([2 * np.eye(1)] * 2, [np.eye(1)] * 3)
    >>> surrogates = statistical_surrogates(prior, np.random.default_rng(0))
    >>> upward_messages(prior, surrogates, Evidence(np.eye(1), np.ones(1))).latents[1]
    Evidence(G=array([[3.2]]), h=array([0.8]))
    """
    depth = len(prior.links)
    values, latents = [], []
    for ell, (A, c) in enumerate(surrogates, start=1):
        if ell == branch + 1 and branch > 0:
            message = Evidence(message.G.sum(axis=-3), message.h.sum(axis=-2))
        values.append(message)
        pulled = message.h - matvec(message.G, c)
        A_t = np.swapaxes(A, -1, -2)
        latents.append(Evidence(A_t @ message.G @ A, matvec(A_t, pulled)))
        if ell < depth:
            message = through_noise(*latents[-1], prior.covariances[ell])  # Sigma_{ell+1}
    return Messages(tuple(values), tuple(latents))


def smoothed_path(chain: Chain, surrogates: Sequence[AffineMap], messages: Messages, branch: int = 0) -> list[Array]:
    """The most probable path were the surrogates the links, given their upward messages: L arrays (..., d)."""
    depth = len(surrogates)
    mean = np.zeros_like(messages.latents[-1].h)
    path: list[Array] = []
    for ell in range(depth, 0, -1):
        if ell < depth:
            A, c = surrogates[ell]  # of f_{ell+1}
            mean = spread(matvec(A, path[-1]) + c, ell, depth, branch)
        G, h = messages.latents[ell - 1]
        cov = chain.covariances[ell]  # Sigma_{ell+1}
        solved = np.linalg.solve(np.eye(len(cov)) + cov @ G, (mean + h @ cov)[..., None])
        path.append(np.asarray(solved[..., 0], dtype=np.float64))
    return path[::-1]


def log_evidence(evidence: Evidence, v: Array) -> Array:
    """``-v'Gv/2 + h'v``: ``v`` (..., P, d), evidence (..., d, d) and (..., d) -> (..., P)."""
    return np.asarray(np.vecdot(evidence.h[..., None, :] - 0.5 * (v @ evidence.G), v))


def matvec(matrix: Array, vector: Array) -> Array:
    return np.asarray((matrix @ vector[..., None])[..., 0])


def _averages(links: Sequence[Link], roots: Sequence[Array]) -> tuple[AffineMap, ...]:
    """Each link's secants over the prior's standard deviations (the third-degree cubature rule), as one affine map."""
    d = roots[0].shape[0]
    mean, root = np.zeros(d), roots[-1]
    maps: list[AffineMap] = []
    for ell in range(len(links), 0, -1):
        link, r = links[ell - 1], root.shape[1]
        steps = np.sqrt(max(r, 1)) * root.T  # (r, d)
        values = finite_value(link, np.concatenate([mean + steps, mean - steps, mean[None]]), f"links[{ell - 1}]")
        slopes = (values[:r] - values[r : 2 * r]) / (2.0 * np.sqrt(max(r, 1)))  # (r, d), of f along the root
        center = values[: 2 * r].mean(axis=0) if r else values[0]
        weight = slopes.T @ np.linalg.pinv(root)
        maps.append(affine_map(link) if link.affine else AffineMap(weight, center - weight @ mean))
        spread = (values[: 2 * r] - center) / np.sqrt(max(2 * r, 1))  # (2r, d)
        mean, root = center, factor(spread.T @ spread + roots[ell - 1] @ roots[ell - 1].T)
    return tuple(maps[::-1])


def affine_map(link: Link) -> AffineMap:
    """An affine link as a map."""
    zero = np.zeros(link.dim)
    return AffineMap(np.array(link.jacobian(zero), order="C"), link(zero))


def _predictor(link: Link) -> AffineMap | None:
    given = link.affine_predictor()
    return None if given is None else AffineMap(*given)


def _regression(psi: Array, value: Array) -> AffineMap:
    """Least squares of value (N, d) on psi (N, d), with intercept."""
    psi_mean, value_mean = psi.mean(axis=0), value.mean(axis=0)
    # Of one layout, whether fresh or restored from a file: the layout can decide on the last bit of a product.
    weight = np.ascontiguousarray(np.linalg.lstsq(psi - psi_mean, value - value_mean, rcond=None)[0].T)
    return AffineMap(weight, value_mean - weight @ psi_mean)


def spread(mean: Array, ell: int, depth: int, branch: int) -> Array:
    """Give ``mean``, of level ``ell``, the axis of actions where the chain branches."""
    return mean[..., None, :] if ell == branch and 0 < branch < depth else mean
