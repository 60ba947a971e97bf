r"""Bounds on the Bayes regret of dTS and of LinTS, to draw beside measured regret.

The model: contexts of norm at most 1, Gaussian rewards of standard deviation ``sigma``, a linear chain with
``Sigma_ell = sigma_ell^2 I`` and weights of spectral norm 1, all latents shared (branch 0). With probability of failure
``delta`` the bound is

    BR(n) <= sqrt(2 n (R_act + sum_{ell=1}^L R_lat_ell) log(1 / delta)) + c n delta

    R_act     = c_0 d K log(1 + n sigma_1^2 / (d sigma^2)),         c_0   = sigma_1^2 / log(1 + sigma_1^2 / sigma^2)
    R_lat_ell = c_ell d_ell log(1 + sigma_{ell+1}^2 / sigma_ell^2), c_ell = sigma_{ell+1}^2 sigma_max^(2 ell)
                                                                            / log(1 + sigma_{ell+1}^2 / sigma^2)
    sigma_max^2 = max_ell 1 + sigma_ell^2 / sigma^2

with ``d_ell = d``, or the number of columns of ``W_ell`` that are not zero. The constant ``c`` is not specified: the
functions return the first term.

The powers of ``sigma_max^2`` make the bound vacuous for long chains, though the regret itself hardly depends on L. At
``sigma_ell = sigma`` it is ``R_lat_ell = 2^ell d_ell sigma^2``:

>>> [round(bayes_regret_bound(5000, 100, 5, [1.0] * (L + 1))) for L in (2, 10, 20, 40)]
[20664, 35997, 945260, 967716537]

The formulas are computed as they are written above, with ``log1p``; limits are used where one divides zero by zero.

Source: Aouali, "Diffusion Models Meet Contextual Bandits", Theorem 4.1 and Proposition 4.2, printed there for
``sigma = 1``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import integer, listed, nonnegative, positive


class BoundTerms(NamedTuple):
    """The terms that add up in the bound: ``R_act``, and ``R_lat_ell`` for ``ell = 1..L``."""

    action: float
    latents: tuple[float, ...]


def bayes_regret_bound(
    num_rounds: int,
    num_actions: int,
    dim: int,
    stds: Sequence[float] | Array,
    noise_std: float = 1.0,
    active: Sequence[int] | None = None,
    delta: float | None = None,
) -> float:
    """The bound on the Bayes regret of dTS after n rounds: its first term.

    Parameters
    ----------
    num_rounds : n, the number of rounds.
    num_actions : K, the number of actions.
    dim : d, the dimension of the parameters.
    stds : ``sigma_1 .. sigma_{L+1}``, L + 1 of them, may be zero; ``stds[ell - 1]`` is that of level ``ell``.
    noise_std : ``sigma``, the standard deviation of the rewards.
    active : ``d_1 .. d_L``, the number of columns of each weight that are not zero, 0..d; None: all d.
    delta : probability of failure, in (0, 1]; None is 1 / n.

    Returns
    -------
    float
        ``sqrt(2 n (R_act + sum R_lat) log(1 / delta))``; infinite where it exceeds floating point. With ``delta=None``
        and one round it is 0: all of the bound is then in its second term.

    Raises
    ------
    ValueError
        If an argument is out of range, or a level without noise is below a level with noise: the bound is then
        infinite.

    Examples
    --------
    >>> round(bayes_regret_bound(5000, 100, 5, [1.0, 1.0, 1.0]))
    20664
    >>> round(bayes_regret_bound(5000, 100, 5, [1.0, 1.0, 1.0], active=[5, 2]))
    20640
    """
    terms = bound_terms(num_rounds, num_actions, dim, stds, noise_std, active)
    n = integer("num_rounds", num_rounds, 1)
    if delta is None:
        log_inverse = math.log(n)
    else:
        log_inverse = -math.log(positive("delta", delta))
        if log_inverse < 0:
            raise ValueError(f"delta must be a probability in (0, 1], got {delta!r}")
    return math.sqrt(2 * n * log_inverse) * math.sqrt(terms.action + sum(terms.latents))


def bound_terms(
    num_rounds: int,
    num_actions: int,
    dim: int,
    stds: Sequence[float] | Array,
    noise_std: float = 1.0,
    active: Sequence[int] | None = None,
) -> BoundTerms:
    """The bound's terms ``R_act`` and all ``R_lat_ell``; parameters and errors are as in `bayes_regret_bound`.

    Examples
    --------
    >>> [round(term, 6) for term in bound_terms(5000, 100, 5, [1.0] * 4).latents]
    [10.0, 20.0, 40.0]
    """
    n, K, d = integer("num_rounds", num_rounds, 1), integer("num_actions", num_actions, 1), integer("dim", dim, 1)
    noise = GaussianReward(noise_std)
    sigmas = _ladder(stds)
    depth = len(sigmas) - 1
    if active is None:
        columns = [d] * depth
    else:
        given = listed("active", active, "a list of integers")
        if len(given) != depth:
            raise ValueError(f"active must hold one number a link: {depth}, got {len(given)}")
        columns = [integer(f"active[{i}]", columns_of_link, 0, d) for i, columns_of_link in enumerate(given)]
    ratios = [_square(std / noise.noise_std) for std in sigmas]
    if not math.isfinite(max(ratios)):
        raise ValueError(f"stds must have squares in floating point in units of noise_std, got {max(sigmas)}")
    sigma_max = 1.0 + max(ratios)  # squared
    action = noise.dispersion * _over_log(ratios[0]) * d * K * math.log1p(n / d * ratios[0])  # paper thm 4.1
    latents = []
    for ell in range(1, depth + 1):
        below, above = sigmas[ell - 1], sigmas[ell]
        gain = columns[ell - 1] * math.log1p(_square(above / below)) if above > 0.0 else 0.0
        try:
            growth = sigma_max**ell
        except OverflowError:
            growth = math.inf
        # Without the guard this would be 0 times infinity.
        latents.append(noise.dispersion * _over_log(ratios[ell]) * growth * gain if gain else 0.0)  # paper prop 4.2
    return BoundTerms(action, tuple(latents))


def lints_bound(
    num_rounds: int,
    num_actions: int,
    dim: int,
    stds: Sequence[float] | Array,
    noise_std: float = 1.0,
    delta: float | None = None,
) -> float:
    """The same bound for LinTS that knows each action's marginal prior and shares nothing (`MarginalLinTS`).

    Without latents, L = 0, the bound is that of independent actions with the prior ``N(0, s^2 I)``. The chain's
    marginal covariance is ``sum_ell P_{ell-1} Sigma_ell P_{ell-1}'``, ``P_ell = W_1 .. W_ell``: with weights of
    spectral norm 1 its eigenvalues are at most ``s^2 = sigma_1^2 + .. + sigma_{L+1}^2``, with which the bound grows:
    that ``s^2`` is used.

    Parameters, returned value and errors are as in `bayes_regret_bound`; here any standard deviation may be zero.

    Notes
    -----
    The agent `LinTS` has the prior N(0, I), which is not the distribution of the parameters: no such bound holds for
    it.

    Examples
    --------
    >>> round(lints_bound(5000, 100, 5, [1.0, 1.0, 1.0]))
    27164
    """
    marginal = math.hypot(*_checked_stds(stds))
    return bayes_regret_bound(num_rounds, num_actions, dim, [marginal], noise_std, delta=delta)


def _checked_stds(stds: Sequence[float] | Array) -> list[float]:
    numbers = nonnegative("stds", stds, None).tolist()
    if not numbers:
        raise ValueError("stds must hold one number a level, sigma_1 to sigma_{L+1}, got none")
    return [float(number) for number in numbers]


def _ladder(stds: Sequence[float] | Array) -> list[float]:
    """``stds`` as numbers; ValueError where a level without noise is below a level with noise."""
    sigmas = _checked_stds(stds)
    for ell in range(1, len(sigmas)):
        if sigmas[ell - 1] == 0.0 < sigmas[ell]:
            raise ValueError(
                f"stds must have no 0 before a positive one, where the bound is infinite, got stds[{ell - 1}] = 0, "
                f"stds[{ell}] = {sigmas[ell]}"
            )
    return sigmas


def _over_log(ratio: float) -> float:
    """``r / log(1 + r)``, with its limit 1 at 0."""
    return ratio / math.log1p(ratio) if ratio > 0.0 else 1.0


def _square(x: float) -> float:
    """``x^2``, infinite where ``x**2`` raises."""
    return x * x
