"""Random priors: linear chains and chains of perceptrons, as the paper draws them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.links import Activation, MLPLink
from dts_gym.utils.arrays import Array
from dts_gym.utils.memory import refuse_larger
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import DEEPEST, LARGEST, integer, nonnegative, positive


def random_linear_prior(
    dim: int,
    depth: int,
    *,
    stds: float | Sequence[float] = 1.0,
    weight_norm: float | None = None,
    seed: int | np.random.SeedSequence | None = 0,
    branch: int = 0,
) -> LinearDiffusionPrior:
    """Draw a linear chain with weights uniform on [-1, 1] and the last columns zeroed (`active_columns`).

    Parameters
    ----------
    dim, depth : dimension d >= 1 and number of links L, 1..10000.
    stds : standard deviations ``sigma_1 .. sigma_{L+1}``, or one for all: ``Sigma_ell = sigma_ell^2 I``.
    weight_norm : spectral norm to which every weight is scaled; None leaves them as drawn.
    seed : seed for the weights.
    branch : levels above this one are shared, 0..L.

    Examples
    --------
    >>> prior = random_linear_prior(5, 2, weight_norm=1.0, stds=[0.1, 0.2, 0.3])
    >>> [round(float(np.linalg.norm(W, 2)), 12) for W in prior.weights], prior.covariances[2][0, 0].round(12).item()
    ([1.0, 1.0], 0.09)
    """
    d, L = _sizes(dim, depth)
    norm = None if weight_norm is None else positive("weight_norm", weight_norm, LARGEST)
    covariances = _isotropic(stds, d, L)
    rng = stream(seed, "prior")
    weights = []
    for columns in active_columns(d, L):
        W = rng.uniform(-1.0, 1.0, (d, d))
        W[:, columns:] = 0.0
        weights.append(W if norm is None else W * (norm / np.linalg.norm(W, 2)))
    return LinearDiffusionPrior(weights, covariances, branch=branch)


def active_columns(dim: int, depth: int) -> tuple[int, ...]:
    """Return ``d_1 .. d_L``, the columns that `random_linear_prior` does not zero: ``max(1, d // 2^(ell-1))``.

    Examples
    --------
    >>> active_columns(5, 2), active_columns(20, 4)  # the paper's sizes
    ((5, 2), (20, 10, 5, 2))
    """
    d, L = integer("dim", dim, 1), integer("depth", depth, 1, most=DEEPEST)
    return tuple(max(1, d >> level) for level in range(L))


def random_mlp_prior(
    dim: int,
    depth: int,
    *,
    hidden: int | None = None,
    activation: Activation = "relu",
    stds: float | Sequence[float] = 1.0,
    seed: int | np.random.SeedSequence | None = 0,
    branch: int = 0,
) -> DiffusionPrior:
    """Draw a chain of two-layer MLP links with weights uniform on [-1, 1] and zero biases.

    Parameters
    ----------
    dim, depth : dimension d >= 1 and number of links L, 1..10000.
    hidden : width of the hidden layer; None: ``max(20, 3 d)``, which is the paper's 20 for d=5 and 60 for d=20.
    activation : "relu" (the paper's), "tanh" or "silu".
    stds : standard deviations ``sigma_1 .. sigma_{L+1}``, or one for all: ``Sigma_ell = sigma_ell^2 I``.
    seed : seed for the weights.
    branch : levels above this one are shared, 0..L.

    Notes
    -----
    Links are not contractions. With ReLU and these widths the parameters' scale about doubles with each link at d=5
    (in the mean square over weights, ``hidden dim / 18`` fold): a chain of 40 links ends some 1e13 wide.

    Examples
    --------
    >>> prior = random_mlp_prior(5, 2)
    >>> prior.links[0].weights[0].shape, prior.sample(np.random.default_rng(0), 100).shape
    ((20, 5), (100, 5))
    """
    d, L = _sizes(dim, depth)
    width = max(20, 3 * d) if hidden is None else integer("hidden", hidden, 1)
    refuse_larger("hidden * dim * depth", f"{L} links of {width} x {d} weights", 16 * L * width * d)
    covariances = _isotropic(stds, d, L)
    rng = stream(seed, "prior")
    shapes = ((width, d), (d, width))
    links = [MLPLink([rng.uniform(-1.0, 1.0, shape) for shape in shapes], activation=activation) for _ in range(L)]
    return DiffusionPrior(links, covariances, branch)


def _sizes(dim: int, depth: int) -> tuple[int, int]:
    """The checked dimension and depth of a chain whose matrices fit the machine's memory."""
    d, L = integer("dim", dim, 1), integer("depth", depth, 1, most=DEEPEST)
    refuse_larger("dim^2 * depth", f"{L} links with matrices of {d} x {d}", 16 * L * d * d)
    return d, L


def _isotropic(stds: float | Sequence[float], d: int, L: int) -> list[Array]:
    """``sigma_ell^2 I`` of every level, from L + 1 standard deviations or one for all."""
    sigmas = nonnegative("stds", [stds] * (L + 1) if np.ndim(stds) == 0 else stds, L + 1, LARGEST)
    return [sigma**2 * np.eye(d) for sigma in sigmas]


def even_chain(dim: int, depth: int, seed: int) -> LinearDiffusionPrior:
    """Draw a chain whose spread does not grow with its depth."""
    chain = random_linear_prior(dim, depth, seed=seed)
    weights = [W / max(float(np.linalg.norm(W, 2)), 1.0) for W in chain.weights]
    return LinearDiffusionPrior(weights, chain.covariances)
