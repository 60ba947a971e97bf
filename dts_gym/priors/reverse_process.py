"""The reverse process of a denoising diffusion model as a chain: its schedule, its links and their covariances.

In the symbols of `dts_gym.priors.denoisers`, the covariance of step l is
``Sigma_l = beta~_l I + g_l^2 E Cov(z_0 | z_l)``. The first term, ``beta~_l = beta_l (1 - abar_{l-1}) / (1 - abar_l)``,
is the posterior variance if ``z_0`` were known; the second is the uncertainty about ``z_0`` that the denoiser leaves.
Together they are the average covariance of ``z_{l-1}`` given ``z_l``, so that the chain has the forward process's
covariance at every level however few the steps. Without the second, a chain of few steps is too narrow, and the last
step has no spread at all (``beta~_1 = 0``).

Source: Bao et al., "Analytic-DPM: an analytic estimate of the optimal reverse variance in diffusion probabilistic
models" (2022).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from dts_gym.priors.denoisers import DenoiserLink, DenoiserNetwork
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import DEEPEST, choice, finite_array, integer

Schedule = Literal["cosine", "constant"]

_TOP = 0.08  # sqrt(abar_L) of the cosine schedule: the share of the data's standard deviation left at the top
_CONSTANT = 0.97**100  # abar_L of the constant schedule, whatever its depth


def noise_schedule(depth: int, schedule: Schedule = "cosine") -> Array:
    r"""``abar_1, ..., abar_L`` of the forward process: how much of the data's variance is left at each level.

    Parameters
    ----------
    depth : L >= 1, the number of steps.
    schedule : "cosine": ``sqrt(abar_l) = cos(a l / L)``, with ``a`` such that 0.08 of the data's
        standard deviation is left at the top whatever the depth; at L = 40 the first level has noise of standard
        deviation 0.037. "constant": one ``alpha`` for all steps, ``0.97^(100 / L)``, which is that of Kveton et al. at
        L = 100; 0.22 is left at the top, and at L = 40 the first level has noise of standard deviation 0.27.

    Returns
    -------
    (L,)

    Notes
    -----
    The top must be standard normal. For data of mean zero and unit covariance it has that mean and covariance whatever
    share of them is left; of a third moment the cube of that share remains, 0.0005 at 0.08, 0.01 at 0.22. At L = 1 the
    chain is Gaussian except for that.

    Source: Nichol and Dhariwal, "Improved denoising diffusion probabilistic models" (2021); Kveton et al., "Online
    posterior sampling with a diffusion prior" (2024).

    Examples
    --------
    >>> noise_schedule(2).round(4), noise_schedule(100, "constant")[:2].round(4)
    (array([0.54  , 0.0064]), array([0.97  , 0.9409]))
    """
    L = integer("depth", depth, 1, most=DEEPEST)
    choice("schedule", schedule, get_args(Schedule))
    levels = np.arange(1, L + 1) / L
    if schedule == "constant":
        return np.asarray(_CONSTANT**levels)
    return np.asarray(np.cos(np.arccos(_TOP) * levels) ** 2)


def reverse_chain(
    network: DenoiserNetwork,
    alpha_bars: Array,
    unknown: Array | None = None,
    *,
    scale: Array | None = None,
    offset: Array | None = None,
    data_mean: Array | None = None,
    data_cov: Array | None = None,
) -> tuple[list[DenoiserLink], list[Array]]:
    """Links and covariances of the whole reverse process, as arguments of `dts_gym.priors.DiffusionPrior`.

    Parameters
    ----------
    network : velocity network for L steps.
    alpha_bars : (L,) values of ``abar_l``, falling from below 1 to near 0, because the top is N(0, I).
    unknown : (L, d, d), ``E Cov(z_0 | z_l)``; None: zeros, the covariances are ``beta~_l I`` alone and the last step's
        is zero.
    scale : (d, d), ``theta = offset + scale z_0``; None: the identity.
    offset : (d,), zeros if None.
    data_mean : (d,) mean of ``z_0``, zeros if None; only the predictors use it.
    data_cov : (d, d) covariance of ``z_0``, the identity if None; only the predictors use it.

    Returns
    -------
    list of DenoiserLink, list of (d, d)
        L links with their best affine predictors, and L + 1 covariances, the last the identity.
    """
    L, d = len(network.times), network.first.shape[1]
    bars = finite_array("alpha_bars", alpha_bars, (L,))
    rest = np.zeros((L, d, d)) if unknown is None else finite_array("unknown", unknown, (L, d, d))
    R = np.eye(d) if scale is None else finite_array("scale", scale, (d, d))
    shift = np.zeros(d) if offset is None else finite_array("offset", offset, (d,))
    mean = np.zeros(d) if data_mean is None else finite_array("data_mean", data_mean, (d,))
    cov = np.eye(d) if data_cov is None else finite_array("data_cov", data_cov, (d, d))
    links: list[DenoiserLink] = []
    covariances: list[Array] = []
    before = 1.0
    for step, bar in enumerate(bars.tolist(), start=1):
        C, C_before = bar * cov + (1.0 - bar) * np.eye(d), before * cov + (1.0 - before) * np.eye(d)
        A = np.linalg.solve(C, np.sqrt(bar / before) * C_before).T  # sqrt(alpha) C_before C^-1
        c = np.sqrt(before) * mean - A @ (np.sqrt(bar) * mean)
        if step == 1:
            link = DenoiserLink(network, step, bar, before, (R @ A, R @ c + shift), scale, offset)
        else:
            link = DenoiserLink(network, step, bar, before, (A, c))
        links.append(link)
        known = (1.0 - bar / before) * (1.0 - before) / (1.0 - bar)  # beta~
        Sigma = known * np.eye(d) + link.data_share**2 * rest[step - 1]
        if step == 1:
            Sigma = R @ Sigma @ R.T
        covariances.append((Sigma + Sigma.T) / 2)
        before = bar
    return links, [*covariances, np.eye(d)]
