"""Generalised linear evidence against SciPy's minimiser, quadrature and exact sums; and where it is hard to fit."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from dts_gym.posteriors.glm import newton
from dts_gym.posteriors.glm.expansion import expand, mean_pull
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward
from dts_gym.utils.arrays import factor
from glm_truth import map_estimate, mle_estimate

FAMILIES = [GaussianReward(0.5), BernoulliReward(), PoissonReward()]
NAMES = [family.name for family in FAMILIES]
GLMS = FAMILIES[1:]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def problem(model, n=40, d=3, seed=0, spread=1.0):
    """Contexts, rewards and a prior; the rewards come from a draw of that prior."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((d, d))
    mean, cov = rng.standard_normal(d), A @ A.T + 0.1 * np.eye(d)
    X = spread * rng.uniform(-1, 1, (n, d))
    y = model.sample(rng, X @ (mean + 0.5 * rng.standard_normal(d)))
    return X, y, mean, cov


def decrement(model, X, y, mean, cov, t):
    """How far ``t`` is from the MAP, in posterior standard deviations: from the gradient, by least squares."""
    R = factor(cov)
    z = np.linalg.lstsq(R, t - mean)[0]
    eta = X @ t
    gradient = (X @ R).T @ (y - model.mean(eta)) / model.dispersion - z
    rows = np.sqrt(model.derivative(eta) / model.dispersion)[:, None] * (X @ R)
    triangle = np.linalg.qr(np.vstack([rows, np.eye(len(z))]), mode="r")
    return np.linalg.norm(np.linalg.solve(triangle.T, gradient))


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_map_is_the_minimum_that_a_quasi_newton_search_finds(model, seed):
    X, y, mean, cov = problem(model, seed=seed)
    precision = np.linalg.inv(cov)

    def cost(t):
        return -model.log_likelihood(y, X @ t).sum() + (t - mean) @ precision @ (t - mean) / 2

    found = optimize.minimize(cost, mean, method="Powell", options={"xtol": 1e-10, "ftol": 1e-15, "maxfev": 20_000})
    t = map_estimate(model, X, y, mean, cov)
    np.testing.assert_allclose(t, found.x, rtol=1e-4, atol=1e-4)
    assert cost(t) <= found.fun + 1e-10 * abs(found.fun)
    slopes = [(cost(t + h) - cost(t - h)) / 2e-5 for h in 1e-5 * np.eye(3)]
    np.testing.assert_allclose(slopes, 0, atol=1e-4)
    assert decrement(model, X, y, mean, cov, t) < 1e-8


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_the_start_does_not_matter(model):
    X, y, mean, cov = problem(model)
    t = map_estimate(model, X, y, mean, cov)
    for far in (1.0, 100.0, 1e4):
        start = mean + far * np.array([1.0, -1.0, 1.0])
        np.testing.assert_allclose(map_estimate(model, X, y, mean, cov, start), t, rtol=1e-8, atol=1e-8)


def test_map_of_gaussian_rewards_is_the_posterior_mean():
    X, y, mean, cov = problem(FAMILIES[0])
    gain = np.linalg.solve(X @ cov @ X.T + 0.25 * np.eye(len(y)), X @ cov).T  # in the rewards' space
    np.testing.assert_allclose(map_estimate(FAMILIES[0], X, y, mean, cov), mean + gain @ (y - X @ mean), rtol=1e-10)


def test_gaussian_evidence_is_the_sum_over_rewards_wherever_it_is_expanded():
    X, y, _, _ = problem(FAMILIES[0])
    G = sum(np.outer(x, x) for x in X) / 0.25
    h = sum(x * r for x, r in zip(X, y, strict=True)) / 0.25
    for t in (np.zeros(3), np.array([3.0, -4.0, 5.0]), np.full(3, 1e3)):
        evidence = expand(FAMILIES[0], X, y, t)
        np.testing.assert_allclose(evidence.G, G, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(evidence.h, h, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(evidence.G, evidence.G.T)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_the_expansion_has_the_slope_and_the_curvature_of_the_likelihood(model):
    X, y, t, _ = problem(model)
    evidence = expand(model, X, y, t)
    step = 1e-3 * np.eye(3)

    def fit(v):
        return model.log_likelihood(y, X @ v).sum()

    slope = [(fit(t + s) - fit(t - s)) / 2e-3 for s in step]
    np.testing.assert_allclose(evidence.h - evidence.G @ t, slope, rtol=1e-4, atol=1e-4)
    bend = [[(fit(t + a + b) - fit(t + a - b) - fit(t - a + b) + fit(t - a - b)) / 4e-6 for b in step] for a in step]
    np.testing.assert_allclose(-evidence.G, bend, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model", GLMS, ids=NAMES[1:])
def test_with_many_rewards_the_posterior_is_near_that_of_quadrature(model):
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (4000, 1))
    y = model.sample(rng, X[:, 0] * 0.8)
    t = map_estimate(model, X, y, [0.3], [[2.0]])
    G, h = expand(model, X, y, t)
    precision = G[0, 0] + 1 / 2.0
    mean, std = (h[0] + 0.3 / 2.0) / precision, precision**-0.5
    grid = mean + std * np.linspace(-10, 10, 2001)
    log_density = np.array([model.log_likelihood(y, X[:, 0] * v).sum() for v in grid]) - (grid - 0.3) ** 2 / 4.0
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    true_mean = density @ grid
    assert abs(mean - true_mean) < 0.05 * std
    assert std == pytest.approx(math.sqrt(density @ (grid - true_mean) ** 2), rel=0.01)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_the_pull_moves_the_mode_to_the_mean(model):
    # Ten rewards at contexts of up to 3, against quadrature: a tenth of the mode's error, root mean square, is left.
    before, after = [], []
    grid = np.linspace(-8, 8, 4001)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        X = rng.uniform(-3, 3, (10, 1)) if model.name != "poisson" else rng.uniform(-1, 1, (10, 1))
        y = model.sample(rng, X[:, 0] * rng.standard_normal())
        density = np.exp(model.log_likelihood(y[:, None], X * grid).sum(axis=0) - grid**2 / 2)
        mean = density @ grid / density.sum()
        std = np.sqrt(density @ (grid - mean) ** 2 / density.sum())
        t = map_estimate(model, X, y, [0.0], [[1.0]])
        root = (expand(model, X, y, t).G + 1.0) ** -0.5
        moved = t + root @ (root @ mean_pull(model, X, t, root))
        before.append((t[0] - mean) / std)
        after.append((moved[0] - mean) / std)
    if model.name == "gaussian":
        np.testing.assert_allclose(after, 0, atol=1e-6)
        np.testing.assert_array_equal(mean_pull(model, X, t, root), 0)
    else:
        assert np.linalg.norm(after) < 0.15 * np.linalg.norm(before)


@pytest.mark.parametrize("width", [1.0, 1e2, 1e4, 1e7])
@pytest.mark.parametrize("model", GLMS, ids=NAMES[1:])
def test_the_pull_moves_the_mean_by_one_deviation_at_most(model, width):
    X, y = np.ones((1, 1)), np.array([1.0 if model.name == "bernoulli" else 0.0])
    t = map_estimate(model, X, y, [0.0], [[width**2]])
    root = (expand(model, X, y, t).G + width**-2.0) ** -0.5
    moved = np.linalg.norm(mean_pull(model, X, t, root) @ root)
    assert moved <= 1 + 1e-12
    assert width == 1.0 or moved > 0.5


HARD = {
    "one reward": ([[1.0, 2.0]], [1.0]),
    "no reward": (np.empty((0, 2)), np.empty(0)),
    "separable": ([[1.0, 0.0], [2.0, 1.0], [-1.0, 0.5], [-3.0, 0.1]], [1.0, 1.0, 0.0, 0.0]),
    "all zero": (np.eye(2).repeat(50, axis=0), np.zeros(100)),
    "all one": (np.eye(2).repeat(50, axis=0), np.ones(100)),
    "contexts of norm 1000": (1e3 * np.array([[1.0, 0.2], [-0.3, 1.0], [0.5, 0.5]]), [1.0, 0.0, 1.0]),
    "small contexts": (1e-6 * np.eye(2), [1.0, 0.0]),
    "zero contexts": (np.zeros((3, 2)), [1.0, 0.0, 1.0]),
}
PRIORS = {
    "unit": np.eye(2),
    "wide": 1e4 * np.eye(2),
    "narrow": 1e-8 * np.eye(2),
    "singular": np.array([[1.0, 1.0], [1.0, 1.0]]),
    "uneven": np.diag([1e6, 1e-6]),
    "none": np.zeros((2, 2)),
}


@pytest.mark.parametrize("model", GLMS, ids=NAMES[1:])
@pytest.mark.parametrize("data", HARD)
@pytest.mark.parametrize("prior", PRIORS)
def test_hard_data_have_a_finite_map_of_no_gradient(model, data, prior):
    X, y = np.array(HARD[data][0]), np.array(HARD[data][1])
    mean, cov = np.array([0.01, -0.02]), PRIORS[prior]
    t = map_estimate(model, X, y, mean, cov)
    assert decrement(model, X, y, mean, cov, t) < 1e-7
    beyond = (np.eye(2) - np.linalg.pinv(cov) @ cov) @ (t - mean)
    np.testing.assert_allclose(beyond, 0, atol=1e-9 * (1 + np.abs(t).max()))


@pytest.mark.parametrize("counts", [[1e6], [1e6, 0.0], [1e6] * 30])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_large_counts(counts, scale):
    X = scale * np.random.default_rng(0).uniform(-1, 1, (len(counts), 2))
    mean, cov, y = np.zeros(2), np.eye(2), np.array(counts)
    t = map_estimate(PoissonReward(), X, y, mean, cov)
    assert decrement(PoissonReward(), X, y, mean, cov, t) < 1e-7
    assert np.isfinite(expand(PoissonReward(), X, y, t).G).all()


@pytest.mark.parametrize("model", GLMS, ids=NAMES[1:])
@pytest.mark.parametrize("far", [30.0, 1e3, 1e5])
def test_rewards_that_the_prior_held_impossible(model, far):
    # The prior's predictor is +-far, saturated or overflowing; the rewards say otherwise.
    X, y = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 1.0, 0.0])
    mean, cov = np.array([far, far]), np.eye(2)
    t = map_estimate(model, X, y, mean, cov)
    assert decrement(model, X, y, mean, cov, t) < 1e-6
    assert (t < far).all()


@settings(deadline=None, max_examples=150)
@given(
    family=st.integers(0, 2),
    n=st.integers(0, 60),
    d=st.integers(1, 5),
    scale=st.integers(-3, 3),
    width=st.integers(-3, 3),
    rank=st.integers(1, 5),
    offset=st.integers(-2, 1),
    kind=st.sampled_from(["model", "separable", "low", "high"]),
    seed=st.integers(0, 2**20),
)
def test_any_fit_ends_at_the_maximum_in_few_steps(family, n, d, scale, width, rank, offset, kind, seed):
    model, rng = FAMILIES[family], np.random.default_rng(seed)
    X = 10.0**scale * rng.uniform(-1, 1, (n, d))
    y = {
        "model": model.sample(rng, np.clip(X[:, 0], -10, 10)),
        "separable": 1.0 * (X[:, 0] > 0),
        "low": np.zeros(n),
        "high": np.full(n, 1e6 if model.name == "poisson" else 1.0),
    }[kind]
    A = 10.0**width * rng.standard_normal((d, min(rank, d)))
    cov, mean = A @ A.T, 10.0**offset * rng.standard_normal(d)
    steps, once = [], newton._newton_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newton, "_newton_step", lambda *args: steps.append(1) or once(*args))
        t = map_estimate(model, X, y, mean, (cov + cov.T) / 2)
    assert np.isfinite(t).all()
    # A prior of deficient rank can hold rewards of mean e^40 to be certain: rounding of such means is all that counts.
    if model.name != "poisson" or (X @ t).max(initial=0.0) < 30:
        assert decrement(model, X, y, mean, (cov + cov.T) / 2, t) < 1e-6
        assert len(steps) < newton.MAX_STEPS


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_the_mle_is_where_the_likelihood_is_flat(model):
    X, y, _, _ = problem(model, n=300, seed=3)
    fit = mle_estimate(model, X, y)
    assert fit.exists
    found = optimize.minimize(lambda t: -model.log_likelihood(y, X @ t).sum(), np.zeros(3), method="BFGS")
    np.testing.assert_allclose(fit.point, found.x, atol=1e-4)
    np.testing.assert_allclose(X.T @ (y - model.mean(X @ fit.point)), 0, atol=1e-9 * len(y) * max(1.0, y.max()))
    # The deck's pair: precision G_hat and natural mean G_hat B_hat.
    G, h = expand(model, X, y, fit.point)
    np.testing.assert_array_equal(fit.precision, G)
    np.testing.assert_allclose(h, G @ fit.point, rtol=1e-8, atol=1e-8)


def test_the_mle_of_gaussian_rewards_is_least_squares():
    X, y, _, _ = problem(FAMILIES[0])
    fit = mle_estimate(FAMILIES[0], X, y)
    np.testing.assert_allclose(fit.point, np.linalg.lstsq(X, y)[0], rtol=1e-10)
    np.testing.assert_allclose(fit.precision, X.T @ X / 0.25, rtol=1e-12)


@pytest.mark.parametrize("model", GLMS, ids=NAMES[1:])
@pytest.mark.parametrize("data", ["one reward", "no reward", "all zero", "zero contexts"])
def test_where_there_is_no_mle_the_ridge_estimate_stands_in(model, data):
    X, y = np.array(HARD[data][0]), np.array(HARD[data][1])
    fit = mle_estimate(model, X, y, ridge=0.1)
    assert not fit.exists
    sizes = (X**2).sum(axis=0) / max(len(X), 1)
    gradient = X.T @ (y - model.mean(X @ fit.point)) - 0.1 * np.where(sizes > 0, sizes, 1.0) * fit.point
    np.testing.assert_allclose(gradient, 0, atol=1e-8)


@pytest.mark.parametrize("model", GLMS, ids=NAMES[1:])
@pytest.mark.parametrize("units", [[1e-6, 1e-6, 1e-6], [1e3, 1.0, 1e-3], [1e6, 1e6, 1e6]])
def test_the_ridge_estimate_knows_no_units(model, units):
    X, y = np.random.default_rng(0).normal(size=(2, 3)), np.zeros(2)
    fit, scaled = mle_estimate(model, X, y), mle_estimate(model, X * units, y)
    assert not fit.exists
    assert not scaled.exists
    np.testing.assert_allclose(scaled.point * units, fit.point, rtol=1e-7)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("seed", range(4))
def test_separable_rewards_are_told_from_others(scale, seed):
    rng = np.random.default_rng(seed)
    X = scale * rng.standard_normal((60, 3))
    apart = 1.0 * (X @ np.array([1.0, -2.0, 0.5]) > 0)
    mixed = np.concatenate([apart[:-6], 1 - apart[-6:]])
    assert not mle_estimate(BernoulliReward(), X, apart).exists
    assert mle_estimate(BernoulliReward(), X, mixed).exists
    # Quasi-separated: the first coordinate is settled by itself, the others are not.
    X[:30, 0], X[30:, 0] = 0.0, np.abs(X[30:, 0])
    half = np.concatenate([mixed[:30].round(), np.ones(30)])
    half[:6] = 1 - half[:6]
    assert not mle_estimate(BernoulliReward(), np.c_[X[:, 0], 1.0 * (np.arange(60) < 30)], half).exists


def test_counts_without_an_mle():
    X = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert mle_estimate(PoissonReward(), X, [3.0, 4.0, 1.0]).exists
    assert not mle_estimate(PoissonReward(), X, [3.0, 4.0, 0.0]).exists


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"X": np.ones(3)}, r"X must have shape \(any, any\)"),
        ({"y": [1.0]}, r"y must have shape \(2,\), got shape \(1,\)"),
        ({"X": [[np.nan, 1.0], [0.0, 1.0]]}, "X must be finite"),
        ({"y": [np.inf, 1.0]}, "y must be finite"),
        ({"mean": [0.0]}, r"mean must have shape \(2,\)"),
        ({"cov": [[1.0, 2.0], [2.0, 1.0]]}, "cov must be positive semi-definite"),
        ({"start": [0.0, np.nan]}, "start must be finite"),
        ({"X": [[1e200, 1.0], [0.0, 1.0]]}, "must have finite products"),
    ],
)
@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_bad_data_are_refused(model, change, match):
    given_ = {"X": [[1.0, 0.0], [0.0, 1.0]], "y": [1.0, 0.0], "mean": np.zeros(2), "cov": np.eye(2)} | change
    with pytest.raises(ValueError, match=match):
        map_estimate(model, **given_)
    if "mean" not in change and "cov" not in change:
        with pytest.raises(ValueError, match=match):
            mle_estimate(model, **{k: v for k, v in given_.items() if k not in ("mean", "cov")})


def test_a_bad_ridge_is_refused():
    with pytest.raises(ValueError, match="ridge must be a positive finite number, got 0"):
        mle_estimate(BernoulliReward(), [[1.0]], [1.0], ridge=0)
