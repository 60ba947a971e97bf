"""Surrogates: affine maps that replace the links in the upward messages, and nowhere else.

A link that is not affine has no message in closed form. Its surrogate ``psi -> A psi + c`` has one; how well it
approximates the link sets how many particles the way down needs (`dts_gym.posteriors.chain.particles`), never what they
converge to. Three choices: `deck_surrogates`, `statistical_surrogates`, `dts_gym.posteriors.chain.tangents`. An affine
link is its own surrogate in the last two.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, HasChain, affine_map, as_chain
from dts_gym.priors.links import Link, finite_value
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import integer


def deck_surrogates(prior: HasChain) -> list[AffineMap]:
    """The rule "deck", of the paper's slides: the identity for every link, affine ones too.

    Returns
    -------
    list of AffineMap
        L times ``A = I, c = 0``. This is exactly the rule on the slides, whose formulas omit the matrices of the
        linear case.
    """
    d = prior.covariances[0].shape[0]
    return [AffineMap(np.eye(d), np.zeros(d)) for _ in prior.links]


def statistical_surrogates(prior: HasChain, rng: np.random.Generator, num_draws: int = 10_000) -> list[AffineMap]:
    """The best affine predictor of ``psi_{ell-1}`` from ``psi_ell`` under the prior, by regression on draws of it.

    Parameters
    ----------
    prior : a prior, or its chain.
    rng : random generator for the draws; used only where a link is not affine and has no predictor in closed form.
    num_draws : N, the number of draws, more than d.

    Returns
    -------
    list of AffineMap
        L maps. An affine link is its own predictor, exactly; a denoiser's is known from its forward process
        (`dts_gym.priors.links.Link.affine_predictor`); the others have a Monte Carlo error of order ``N^-1/2``, which
        requires more particles but does not affect correctness.

    Notes
    -----
    Least squares of ``f_ell(psi_ell)``, which has the same predictor as ``psi_{ell-1}`` and less noise. Directions
    that ``psi_ell`` never takes have weight zero. The result does not depend on data, exploration or branch, so it is
    computed once for a prior.
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


def _predictor(link: Link) -> AffineMap | None:
    given = link.affine_predictor()
    return None if given is None else AffineMap(*given)


def _regression(psi: Array, value: Array) -> AffineMap:
    """Least squares of value (N, d) on psi (N, d), with intercept."""
    psi_mean, value_mean = psi.mean(axis=0), value.mean(axis=0)
    # Of one layout, whether fresh or restored from a file: the layout can decide on the last bit of a product.
    weight = np.ascontiguousarray(np.linalg.lstsq(psi - psi_mean, value - value_mean, rcond=None)[0].T)
    return AffineMap(weight, value_mean - weight @ psi_mean)
