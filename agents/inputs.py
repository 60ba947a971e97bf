"""Checks of what agents receive: problems, contexts, masks, numbers; errors name the argument, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dts_gym.posteriors.action_table import Dtype, checked_dtype
from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.fitting import marginal_moments
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.prior import as_chain_prior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import LARGEST, as_float64, boolean, covariance, finite_array, integers


def checked_problem(value: Any) -> BanditProblem:
    """Return ``value`` if it is a BanditProblem; else raise ValueError."""
    if not isinstance(value, BanditProblem):
        raise ValueError(f"problem must be a BanditProblem, got {value!r:.200}")
    return value


def disjoint_problem(agent: str, value: Any) -> BanditProblem:
    """Return ``value`` if it is a BanditProblem with parameters for every action; else raise ValueError."""
    problem = checked_problem(value)
    if problem.features != "disjoint":
        raise ValueError(f"problem must have disjoint features for {agent}, got {problem.features!r} ones")
    return problem


def disjoint_dtype(problem: BanditProblem, value: Any) -> Dtype:
    """Return ``value``, a dtype name, where it fits the problem; else raise ValueError."""
    dtype = checked_dtype(value)
    if dtype != "float64" and checked_problem(problem).features != "disjoint":
        raise ValueError(f"dtype must be 'float64' where all actions share a parameter, got {dtype!r}")
    return dtype


def checked_context(value: Any, shape: tuple[int, ...]) -> Array:
    """Return ``value`` as one context of that shape, or n of them; else raise ValueError."""
    x = as_float64("context", value)
    if x.shape != shape and x.shape[1:] != shape:
        raise ValueError(f"context must have shape {shape} or (n, {str(shape)[1:]}, got shape {x.shape}")
    flat = x.ravel()
    # A small sum of squares proves that all values are finite and small; the slow check runs only otherwise.
    with np.errstate(over="ignore"):
        norm = flat.dot(flat)
        if not norm <= LARGEST**2:
            if not np.isfinite(flat).all():
                raise ValueError(f"context must be finite, got {flat[~np.isfinite(flat)][0]} among its values")
            longest = float(np.linalg.norm(x / LARGEST, axis=-1).max(initial=0.0))
            if longest > 1.0:
                raise ValueError(f"context must have a length of at most {LARGEST:g}, got {longest:.3g} times that")
    return x


def checked_mask(mask: Any, num_actions: int, num_contexts: int | None) -> BoolArray | None:
    """Return ``mask`` as (K,) or (n, K) booleans (``num_contexts`` None: one context), or None where it allows all."""
    if mask is None:
        return None
    K = num_actions
    rows = "" if num_contexts is None else f" or ({num_contexts}, {K})"
    try:
        allowed = np.asarray(mask)
        if np.ma.is_masked(mask):
            raise TypeError("masked")
    except (TypeError, ValueError, RuntimeError) as error:  # rows of different lengths, a masked value
        raise ValueError(f"mask must be booleans of shape ({K},){rows}, got {mask!r:.200}") from error
    if allowed.dtype == np.int8 and ((allowed == 0) | (allowed == 1)).all():  # a mask of Gymnasium's spaces
        allowed = allowed.astype(bool)
    if allowed.dtype != np.bool_ or (allowed.shape != (K,) and (not rows or allowed.shape != (num_contexts, K))):
        raise ValueError(f"mask must be booleans of shape ({K},){rows}, got shape {allowed.shape} of {allowed.dtype}")
    if not allowed.any(axis=-1).all():
        row = f" in row {int(allowed.any(axis=-1).argmin())}" if allowed.ndim == 2 else ""
        raise ValueError(f"mask must allow an action or more, got none{row}")
    return None if allowed.all() else allowed


def as_rows(contexts: Array, mask: BoolArray | None, single: bool) -> tuple[Array, list[BoolArray | None]]:
    """Checked contexts as a batch, where ``single`` says that they are one, and a mask for each."""
    rows = contexts[None] if single else contexts
    return rows, list(mask) if mask is not None and mask.ndim == 2 else [mask] * len(rows)


def checked_pending(
    pending: Any, check: Callable[[Any], Array], is_single: Callable[[Array], bool], num_actions: int
) -> tuple[Array, IntArray] | None:
    """Return ``pending`` as contexts (m, ...), by ``check``, and actions (m,) of plays; None where there are none.

    ``is_single`` says whether checked contexts are one. Raises ValueError.
    """
    if pending is None:
        return None
    if not isinstance(pending, tuple) or len(pending) != 2:
        raise ValueError(f"pending must be a tuple of contexts and actions, got {pending!r:.200}")
    if not np.size(pending[1]):
        return None
    try:
        contexts = check(pending[0])
    except ValueError as error:
        raise ValueError(f"pending must begin with contexts of plays: {error}") from error
    if is_single(contexts):
        raise ValueError(f"pending must begin with contexts in rows, got shape {np.shape(pending[0])}")
    return contexts, integers("pending", pending[1], len(contexts), num_actions)


def independent_prior(
    problem: BanditProblem, prior_mean: Array | None, prior_cov: Array | None, intercept: bool
) -> tuple[TwoLevelPrior | MixedEffectPrior, dict[str, Array | bool | None]]:
    """Return the prior of independent actions, and the arguments in the form that `Agent` saves to files.

    With a mean for each action, ``prior_mean`` (K, d), it is a prior of mixed effects without any effect.
    """
    intercept = boolean("intercept", intercept)
    d = checked_problem(problem).dim + intercept
    given = None if prior_mean is None else as_float64("prior_mean", prior_mean)
    by_action = given is not None and given.ndim == 2
    K = problem.num_actions
    mean = None if given is None else finite_array("prior_mean", given, (K, d) if by_action else (d,))
    cov = None if prior_cov is None else covariance("prior_cov", prior_cov, d)
    settings: dict[str, Array | bool | None] = {"prior_mean": mean, "prior_cov": cov, "intercept": intercept}
    own = np.eye(d) if cov is None else cov
    if mean is not None and by_action:
        if problem.features != "disjoint":
            raise ValueError(f"prior_mean must have shape ({d},) where all actions share a parameter, got {mean.shape}")
        return MixedEffectPrior(np.zeros((K, 0)), np.zeros((0, 0)), own, action_means=mean), settings
    return TwoLevelPrior(np.zeros(d) if mean is None else mean, np.zeros((d, d)), own), settings


def independent_moments(prior: TwoLevelPrior | MixedEffectPrior) -> tuple[Array, Array]:
    """Mean and covariance of an action's parameters under a prior that `independent_prior` returned."""
    return marginal_moments(prior) if isinstance(prior, MixedEffectPrior) else prior.marginal()


def linear_chain(agent: str, problem: BanditProblem) -> LinearDiffusionPrior:
    """Return the problem's prior if it is a linear chain; else raise ValueError."""
    prior = as_chain_prior(checked_problem(problem).prior)
    chain = as_linear(prior)
    if chain is None:
        raise ValueError(f"problem must have a prior of affine links for {agent}, got {type(prior).__name__}")
    return chain
