"""A conformance suite for priors, also those with a denoiser of your own: `dts_gym.checks.check_prior`."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from scipy.special import ndtri

from dts_gym.priors.chains import prior_from_state
from dts_gym.priors.links import Link, finite_value
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import ChainPrior, Prior
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import covariance

_SURROGATES = ("jacobian", "statistical")
_REAL = "fiu"  # kinds of NumPy's real types
_POINTS, _KINKS = 16, 2
# Steps of finite differences, in standard deviations of the points: large ones for links in single precision.
_STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_TOLERANCE = 1e-3
# Tolerance for a value in single precision, relative to it.
_ROUNDING = 1e-6
# Tolerance between batches and single points, whose order of operations may differ, in single precision too.
_BATCH_TOLERANCE = 1e-4
_DRAWS, _ACTIONS, _FREQUENCIES = 2000, 5, 32
_SURE = 1e-8  # means of standardised values that differ by less are judged equal
# Two distributions are judged different at a p-value of one in a million.
_FALSE_ALARM = 1e-6


def check_prior(prior: Prior) -> None:
    """Check that a prior, and each of its links, keeps the contract of this package.

    Parameters
    ----------
    prior : a prior with any links; for a denoiser of your own a `DiffusionPrior` of it, where each link is a subclass
        of `Link` with ``__call__`` and ``jacobian``.

    Raises
    ------
    AssertionError
        If a check fails; the message says what the prior or a link does and what it should do.

    Notes
    -----
    The links are checked at points that the chain itself reaches: values are finite, have the shape of the points, and
    are the same in a second call (no dropout) and alone or in a batch; Jacobians agree with finite differences, to 1e-3
    of each row's largest entry in units of the points' spread, except at two points in 16, which may lie at a kink; a
    link whose ``affine`` is True is affine. Covariances are symmetric and positive semi-definite. Draws have the right
    shapes and depend on the seed; pairs of actions, and adjacent levels of one, have the means, the moments and the
    characteristic function of the chain unrolled from links and covariances, at the prior's own branch (2000 draws, a
    false alarm once in a million). A prior that can be saved is the same when loaded. For a prior that is not a chain
    only the draws' shapes, their dependence on the seed, and saving are checked.

    The checks need a second for small chains and half a minute for 40 denoisers, most of it for draws one by one.
    Memory grows as d^2, to some 2.4 GB at d = 100.

    Examples
    --------
    >>> from dts_gym import random_mlp_prior
    >>> check_prior(random_mlp_prior(3, 2))
    """
    assert isinstance(prior, Prior), f"a prior must be a dts_gym Prior, got {prior!r:.100}"
    if isinstance(prior, ChainPrior):
        _check_sizes(prior)
        levels = _unrolled(prior, stream(0, "check"), 4 * _DRAWS)  # these draws are cheap
        for ell, link in enumerate(prior.links, start=1):
            _check_link(link, levels[ell].reshape(-1, prior.dim)[:_POINTS], f"links[{ell - 1}]")
        _check_draws(prior)
        _check_levels(prior)
        _check_law(prior, levels)
        _check_branches(prior)
    else:
        assert prior.dim >= 1, f"dim must be 1 or more, got {prior.dim!r}"
        _check_draws(prior)
    _check_state(prior)


def _check_sizes(prior: ChainPrior) -> None:
    d, L = prior.dim, prior.depth
    assert d >= 1, f"dim must be 1 or more, got {d!r}"
    assert 0 <= prior.branch <= L, f"branch must be in 0..{L}, got {prior.branch!r}"
    assert len(prior.links) == L, f"links must be {L}, got {len(prior.links)}"
    assert len(prior.covariances) == L + 1, f"covariances must be {L + 1}, got {len(prior.covariances)}"
    for i, cov in enumerate(prior.covariances):
        assert isinstance(cov, np.ndarray), f"covariances[{i}] must be a NumPy array, got {cov!r:.100}"
        try:
            covariance(f"covariances[{i}]", cov, d)
        except ValueError as error:
            raise AssertionError(str(error)) from error
    for i, link in enumerate(prior.links):
        assert isinstance(link, Link), f"links[{i}] must be a dts_gym Link, got {link!r:.100}"
        assert link.dim == d, f"links[{i}] must have the prior's dim, {d}, got {link.dim!r}"
        assert link.surrogate in _SURROGATES, (
            f"surrogate of links[{i}] must be in {_SURROGATES}, got {link.surrogate!r}"
        )


def _value(link: Link, points: Array, name: str) -> Array:
    kept = points.copy()
    try:
        value = finite_value(link, points, name)
    except (ValueError, AttributeError) as error:
        raise AssertionError(str(error)) from error
    assert value.dtype.kind in _REAL, f"{name} must return real numbers, got {value.dtype}"
    assert (points == kept).all(), f"{name} must leave the points that it is asked about unchanged"
    return np.asarray(value, dtype=np.float64)


def _check_link(link: Link, points: Array, name: str) -> None:
    """Check everything about a link at points (n, d)."""
    n, d = points.shape
    value = _value(link, points, name)
    assert (_value(link, points, name) == value).all(), f"{name} must return the same value when asked again"
    loose = _BATCH_TOLERANCE * max(float(np.abs(value).max()), 1e-300)
    alone = np.stack([_value(link, point, name) for point in points])
    assert np.abs(alone - value).max() <= loose, f"{name} must return the same value for a point alone and in a batch"
    folded = _value(link, points.reshape(2, -1, d), name).reshape(n, d)
    assert np.abs(folded - value).max() <= loose, f"{name} must accept batches (..., d) with any number of axes"

    jacobian = _jacobian(link, points, value, name)
    for index, at in (("one point", points[0]), ("a batch of two axes", points.reshape(2, -1, d))):
        known = jacobian[0] if at.ndim == 1 else jacobian
        again = _jacobian(link, at, value[0] if at.ndim == 1 else value, f"{name} at {index}")
        off = np.abs(again.reshape(known.shape) - known).max()
        assert off <= _BATCH_TOLERANCE * max(float(np.abs(jacobian).max()), 1e-300), (
            f"jacobian of {name} must be at {index} what it is in a batch, got one that is {off:.3g} off"
        )
    wrong = _far_from_differences(link, points, jacobian, name)
    assert wrong.sum() <= _KINKS, (
        f"jacobian of {name} must agree with finite differences, entry [i, j] = d f_i / d psi_j; it does not at "
        f"{wrong.sum()} of {n} points, {points[wrong.argmax()]} for example"
    )
    if link.affine:
        straight = value[0] + (points - points[0]) @ jacobian[0].T
        # The tolerance is relative to the values' spread: beside a large offset every bend is small. Sums may cancel.
        terms = np.abs(value).max() + (np.abs(points) @ np.abs(jacobian[0]).T).max()
        loose = _BATCH_TOLERANCE * np.ptp(value, axis=0) + _ROUNDING * terms + 1e-300
        assert (np.abs(value - straight) <= loose).all(), f"{name} has affine set to True, but is not affine"
    predictor = link.affine_predictor()
    if predictor is not None:
        shapes = tuple(np.shape(part) for part in predictor)
        assert shapes == ((d, d), (d,)), f"affine_predictor of {name} must have shapes (d, d) and (d,), got {shapes}"
        assert all(np.isfinite(part).all() for part in predictor), f"affine_predictor of {name} must be finite"


def _jacobian(link: Link, points: Array, value: Array, name: str) -> Array:
    """The link's Jacobian at points (..., d), which `value_and_jacobian` must return too, beside the known value."""
    given = np.asarray(link.jacobian(points))
    shape = (*points.shape, points.shape[-1])
    assert given.shape == shape, f"jacobian of {name} must have shape {shape}, got {given.shape}"
    assert given.dtype.kind in _REAL, f"jacobian of {name} must be of real numbers, got {given.dtype}"
    assert np.isfinite(given).all(), f"jacobian of {name} must be finite"
    both = link.value_and_jacobian(points)
    for what, part, known in zip(("value", "jacobian"), both, (value.reshape(points.shape), given), strict=True):
        assert np.shape(part) == known.shape, f"value_and_jacobian of {name} must return the {what} as it is alone"
        off = np.abs(part - known).max()
        assert off <= _BATCH_TOLERANCE * max(float(np.abs(known).max()), 1e-300), (
            f"value_and_jacobian of {name} must return the {what} as it is alone, got one that is {off:.3g} off"
        )
    return np.asarray(given, dtype=np.float64)


def _far_from_differences(link: Link, points: Array, jacobian: Array, name: str) -> Any:
    """Mask (n,) of the points whose Jacobians no step of finite differences confirms."""
    n, d = points.shape
    # Steps scale with the spread of each input, and each output is compared by itself: coordinates may differ in their
    # units.
    spread = points.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    known = jacobian * spread
    wrong = np.ones(n, dtype=bool)
    for step in _STEPS:
        moved = points[:, None, None] + step * np.array([1.0, -1.0])[:, None, None] * np.diag(spread)  # (n, 2, d, d)
        there = _value(link, moved.reshape(-1, d), name).reshape(n, 2, d, d)
        slopes = ((there[:, 0] - there[:, 1]) / (2 * step)).swapaxes(1, 2)  # [i, j] = d f_i / d psi_j, times a spread
        size = np.maximum(np.abs(slopes), np.abs(known)).max(axis=2)
        rounding = _ROUNDING * np.abs(there).max(axis=(1, 2)) / (2 * _STEPS[0])
        wrong &= (np.abs(slopes - known).max(axis=2) > _TOLERANCE * size + rounding).any(axis=1)
    return wrong


def _unrolled(prior: ChainPrior, rng: np.random.Generator, count: int) -> list[Array]:
    """``count`` draws of the chain with two actions, from links and covariances alone: entry ell is (count, 1 or 2, d).

    The levels above the branch have one row, of both actions.
    """
    psi = np.zeros((count, 1, prior.dim))
    levels: list[Array] = []
    for ell in range(prior.depth, -1, -1):
        if ell < prior.depth:
            psi = _value(prior.links[ell], psi, f"links[{ell}]")
        root = factor(covariance(f"covariances[{ell}]", prior.covariances[ell], prior.dim))
        rows = 2 if ell <= prior.branch else 1
        psi = psi + rng.standard_normal((count, rows, root.shape[1])) @ root.T
        levels.append(psi)
    return levels[::-1]


def _num_actions(prior: Prior) -> int:
    """A number of actions that the prior can draw."""
    return prior.num_actions if isinstance(prior, MixedEffectPrior | OffsetPrior) else 3


def _check_draws(prior: Prior) -> None:
    d, K = prior.dim, _num_actions(prior)
    first, again = (prior.sample(stream(1, "check"), K) for _ in range(2))
    assert first.shape == (K, d), f"sample must return shape ({K}, {d}) for {K} actions, got {first.shape}"
    assert np.isfinite(first).all(), "sample must return finite parameters"
    assert (first == again).all(), "sample must depend on its generator alone"


def _check_levels(prior: ChainPrior) -> None:
    d, L, b = prior.dim, prior.depth, prior.branch
    first, other = (prior.sample(stream(seed, "check"), 3) for seed in (1, 2))
    if any(np.any(cov) for cov in prior.covariances):
        assert (first != other).any(), "sample must draw from its generator"
    chain = prior.sample_chain(stream(1, "check"), 3)
    shapes = [level.shape for level in chain]
    expected = [(3 if ell <= b else 1, d) for ell in range(L + 1)]
    assert shapes == expected, f"sample_chain must return shapes {expected}, got {shapes}"
    assert (chain[0] == first).all(), "sample must be level 0 of sample_chain"


def _check_law(prior: ChainPrior, unrolled: list[Array]) -> None:
    """Compare the chain's draws with those unrolled: two actions of each level, and adjacent levels of an action."""
    rng = stream(3, "check")
    drawn: list[list[Array]] = [[] for _ in unrolled]
    for _ in range(_DRAWS):
        two = rng.permutation(_ACTIONS)[:2]
        for rows, level in zip(drawn, prior.sample_chain(rng, _ACTIONS), strict=True):
            rows.append(level[two] if len(level) > 1 else level)
    levels = [np.stack(rows) for rows in drawn]
    where = f"links and covariances at branch {prior.branch}"
    pairs = {f"of two actions at level {ell}": (ell, ell) for ell in range(prior.branch + 1)}
    pairs |= {f"at levels {ell} and {ell + 1}": (ell, ell + 1) for ell in range(prior.depth)}
    for name, (low, high) in pairs.items():
        row = 1 if low == high else 0
        got, truth = (np.stack([of[low][:, 0], of[high][:, row]], axis=1) for of in (levels, unrolled))
        scores = _scores_of_means(got, truth, rng)
        limit = -float(ndtri(_FALSE_ALARM / (2 * len(scores) * len(pairs))))
        assert scores.max() <= limit, (
            f"sample_chain must have the distribution of the chain, {where}: a mean over {_DRAWS} draws {name} is "
            f"{scores.max():.1f} standard errors off"
        )


def _scores_of_means(drawn: Array, unrolled: Array, rng: np.random.Generator) -> Array:
    """Differences of features' means in standard errors, for two samples of pairs of vectors, each (n, 2, d)."""
    d = drawn.shape[2]
    center, spread = unrolled.mean(axis=0), unrolled.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    directions = rng.standard_normal((2 * d, _FREQUENCIES))
    directions *= rng.uniform(0.5, 2.0, _FREQUENCIES) / np.linalg.norm(directions, axis=0)

    def features(pairs: Array) -> Array:
        z = (pairs - center) / spread
        first, second = z[:, 0], z[:, 1]
        within = np.stack([first[:, i] * first[:, j] for i, j in product(range(d), repeat=2) if i <= j], axis=1)
        between = (first[:, :, None] * second[:, None, :]).reshape(len(z), -1)
        phase = z.reshape(len(z), -1) @ directions
        return np.concatenate([first, second, within, between, np.cos(phase), np.sin(phase)], axis=1)

    one, two = features(drawn), features(unrolled)
    off = np.abs(one.mean(axis=0) - two.mean(axis=0))
    error = np.sqrt(one.var(axis=0) / len(one) + two.var(axis=0) / len(two))
    # Where nothing is random, rounding is the only difference.
    return np.asarray((off - _SURE).clip(0.0) / error.clip(1e-300))


def _check_branches(prior: ChainPrior) -> None:
    before = prior.branch
    for branch in range(prior.depth + 1):
        other = prior.with_branch(branch)
        assert other.branch == branch, f"with_branch({branch}) must have that branch, got {other.branch}"
        assert other.depth == prior.depth, f"with_branch must keep the depth, {prior.depth}, got {other.depth}"
    assert prior.branch == before, "with_branch must leave the prior as it is"


def _check_state(prior: Prior) -> None:
    try:
        settings, arrays = prior.state()
    except ValueError:  # the links cannot be saved, and the prior otherwise works
        return
    try:
        built = prior_from_state(settings, arrays)
    except ValueError as error:
        raise AssertionError(
            f"state() must return what a prior can be built from again, or raise ValueError as Link.state does: {error}"
        ) from error
    first, second = (one.sample(stream(4, "check"), _num_actions(prior)) for one in (prior, built))
    assert (first == second).all(), "a prior built from state() must draw the same under the same seed"
