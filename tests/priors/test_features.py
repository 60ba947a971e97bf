"""The prior of items with features: its fit against dense formulas and searches, its draws, its files, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from dts_gym import BanditProblem, FeaturePrior, GaussianReward, load_prior, make_agent
from dts_gym.agents import Agent
from dts_gym.checks import check_prior
from dts_gym.problem import problem_from_state


def items(N: int, p: int, d: int, seed: int, noise: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Parameters (N, d) and features (N, p), of unequal units, of items with a linear part."""
    rng = np.random.default_rng(seed)
    z = 3.0 + rng.normal(size=(N, p)) * 10.0 ** np.arange(p)
    linear = (z - 3.0) / 10.0 ** np.arange(p) @ rng.normal(size=(p, d))
    return 1.5 + linear + noise * rng.normal(size=(N, d)) @ np.triu(np.ones((d, d))), z


def design(z: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(z)), (z - z.mean(axis=0)) / z.std(axis=0)])


def dense_log_density(theta: np.ndarray, Z: np.ndarray, scales: np.ndarray, S: np.ndarray) -> float:
    """Log density of all rows, one after the other, from their whole covariance (N d, N d)."""
    among = np.eye(len(Z)) + (Z * scales**2) @ Z.T
    cov, rows = np.kron(among, S), theta.ravel()
    log_volume = np.linalg.slogdet(2 * np.pi * cov)[1]
    return float(-(log_volume + rows @ np.linalg.solve(cov, rows)) / 2)


@pytest.mark.parametrize(("N", "p", "seed"), [(14, 2, 0), (20, 12, 1)])
def test_the_fit_maximises_the_dense_likelihood(N: int, p: int, seed: int) -> None:
    theta, z = items(N, p, 2, seed)
    Z = design(z)

    def cost(free: np.ndarray) -> float:
        root = np.array([[np.exp(free[2]), 0.0], [free[3], np.exp(free[4])]])
        scales = np.exp(np.r_[free[0], np.full(p, free[1])])
        return -dense_log_density(theta, Z, scales, root @ root.T)

    starts = [np.array([0.0, start, 0.0, 0.0, 0.0]) for start in (-2.0, 0.5)]
    found = min((minimize(cost, start, options={"gtol": 1e-6}) for start in starts), key=lambda one: one.fun)
    prior = FeaturePrior.fit(theta, z)
    root = np.array([[np.exp(found.x[2]), 0.0], [found.x[3], np.exp(found.x[4])]])
    np.testing.assert_allclose(prior.scales, np.exp(found.x[:2]), rtol=1e-3)
    np.testing.assert_allclose(prior.action_cov, root @ root.T, rtol=1e-3, atol=1e-4)
    reached = -dense_log_density(theta, Z, np.r_[prior.scales[0], np.full(p, prior.scales[1])], prior.action_cov)
    assert reached <= found.fun + 1e-8


def test_the_effects_are_those_of_dense_regression() -> None:
    theta, z = items(12, 3, 2, 2)
    prior = FeaturePrior.fit(theta, z)
    Z, d = design(z), 2
    scales = np.r_[prior.scales[0], np.full(3, prior.scales[1])]
    before = np.kron(np.diag(scales**2), prior.action_cov)  # of the effects, one after the other
    seen = np.kron(Z, np.eye(d))
    total = seen @ before @ seen.T + np.kron(np.eye(12), prior.action_cov)
    gain = np.linalg.solve(total, seen @ before).T
    mixed = prior.for_actions(z[:4])
    np.testing.assert_allclose(mixed.effect_mean, gain @ theta.ravel(), atol=1e-9)
    np.testing.assert_allclose(mixed.effect_cov, before - gain @ seen @ before, atol=1e-9)
    np.testing.assert_allclose(mixed.mixing, Z[:4], atol=1e-12)


def test_the_truth_is_recovered_from_many_items() -> None:
    """Each effect within 4.5 of its deviations, S within 4.5 of a Wishart's: a false alarm in 10^4 data sets."""
    rng = np.random.default_rng(3)
    N, p, d = 2000, 4, 3
    root = np.tril(rng.normal(size=(d, d))) + np.eye(d)
    S, B = root @ root.T, rng.normal(size=(p + 1, d))
    z = rng.normal(size=(N, p)) * [1.0, 100.0, 1.0, 0.01] + [0.0, 1900.0, 0.5, 0.0]
    theta = design(z) @ B + rng.normal(size=(N, d)) @ root.T
    prior = FeaturePrior.fit(theta, z)
    deviations = np.sqrt(np.outer(np.diag(prior.feature_cov), np.diag(prior.row_cov)))
    assert (np.abs(prior.effects - B) < 4.5 * deviations).all()
    assert deviations.max() < 0.1
    wishart = np.sqrt((S**2 + np.outer(np.diag(S), np.diag(S))) / N)
    assert (np.abs(prior.action_cov - S) < 4.5 * wishart).all()
    # B S^-1 B' has the trace p d tau^2 in the mean, and so many items leave little doubt about B.
    whitened = np.linalg.solve(root, B[1:].T)
    np.testing.assert_allclose(prior.scales[1], np.sqrt(np.mean(whitened**2)), rtol=0.05)


def test_features_that_say_nothing_get_no_scale() -> None:
    rng = np.random.default_rng(4)
    theta, z = rng.normal(size=(400, 2)), rng.normal(size=(400, 5))
    assert FeaturePrior.fit(theta, z).scales[1] < 0.05
    only = FeaturePrior.fit(theta + 5.0, np.full((400, 1), 2.0))  # a constant feature: the intercept alone is left
    assert only.scales[1] == 0.0
    mixed = only.for_actions([[2.0], [9.0]])
    np.testing.assert_array_equal(mixed.mixing, [[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(mixed.marginals()[0], np.tile(theta.mean(axis=0) + 5.0, (2, 1)), rtol=1e-3)


def test_features_that_explain_every_item_are_warned_of() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(20, 30))
    with pytest.warns(UserWarning, match="item_features explain all of theta"):
        prior = FeaturePrior.fit(z @ rng.normal(size=(30, 2)), z)
    assert np.abs(prior.action_cov).max() < 1e-4


def test_units_of_features_do_not_matter() -> None:
    theta, z = items(40, 3, 2, 5)
    one, other = (FeaturePrior.fit(theta, x) for x in (z, 1e3 * z - 5.0))
    for first, second in zip(
        one.for_actions(z[:3]).marginals(), other.for_actions(1e3 * z[:3] - 5.0).marginals(), strict=True
    ):
        np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize("many", [False, True])
def test_errors_of_estimates_are_subtracted(many: bool) -> None:
    """S of exact vectors and of estimates differ by less than 4.5 deviations: a false alarm in 10^4 data sets."""
    rng = np.random.default_rng(6)
    N, S = 4000, np.array([[1.0, 0.3], [0.3, 0.5]])
    z = rng.normal(size=(N, 2))
    theta = z @ rng.normal(size=(2, 2)) + rng.multivariate_normal(np.zeros(2), S, size=N)
    roots = np.array([[0.8, 0.0], [0.5, 0.4]]) * (rng.uniform(0.5, 1.5, size=(N, 1, 1)) if many else np.ones((N, 1, 1)))
    covs = roots @ roots.swapaxes(1, 2)
    seen = theta + np.matvec(roots, rng.normal(size=(N, 2)))
    prior = FeaturePrior.fit(seen, z, covs if many else covs[0])
    wide = S + covs.mean(axis=0)
    deviation = 1.5 * np.sqrt((wide**2 + np.outer(np.diag(wide), np.diag(wide))) / N)
    assert (np.abs(prior.action_cov - S) < 4.5 * deviation).all()
    assert prior.action_cov[0, 0] < prior.row_cov[0, 0] - 0.4  # effects keep the errors of what was seen
    plain = FeaturePrior.fit(seen, z)
    np.testing.assert_allclose(plain.action_cov, prior.action_cov + covs.mean(axis=0), atol=1e-9)


def test_errors_of_posterior_means_are_added() -> None:
    """Posterior means of the right model vary by S minus the posterior covariance; the fit gives S back, |z| < 4.5."""
    rng = np.random.default_rng(7)
    N, S, noise = 4000, np.array([[1.0, 0.3], [0.3, 0.5]]), np.diag([0.5, 2.0])
    z = rng.normal(size=(N, 2))
    linear = z @ rng.normal(size=(2, 2))
    delta = rng.multivariate_normal(np.zeros(2), S, size=N)
    gain = S @ np.linalg.inv(S + noise)
    means = linear + (delta + rng.multivariate_normal(np.zeros(2), noise, size=N)) @ gain.T
    prior = FeaturePrior.fit(means, z, S - gain @ S, theta_is="posterior_means")
    deviation = np.sqrt((S**2 + np.outer(np.diag(S), np.diag(S))) / N)
    assert (np.abs(prior.action_cov - S) < 4.5 * deviation).all()
    assert np.abs(FeaturePrior.fit(means, z).action_cov - S).max() > 0.2


def test_errors_larger_than_what_is_seen_leave_nothing_and_warn() -> None:
    theta, z = items(50, 2, 2, 8, noise=0.1)
    with pytest.warns(UserWarning, match="noise_cov is larger .* along 1 of 2 directions"):
        prior = FeaturePrior.fit(theta, z, np.diag([100.0, 0.0]))
    values = np.linalg.eigvalsh(prior.action_cov)
    assert abs(values[0]) < 1e-12 < values[1]
    assert prior.for_actions(z).sample(np.random.default_rng(0), 50).shape == (50, 2)


@pytest.mark.parametrize("learn", [True, False])
def test_draws_for_actions_have_the_moments_of_the_model(learn: bool) -> None:
    """Draws by hand of B, then of each item, against the formula: |z| < 4.5 for 6 means and 21 second moments."""
    theta, z = items(12, 2, 2, 9)
    prior = FeaturePrior.fit(theta, z)
    new = np.array([[4.0, 8.0], [2.0, 3.0], [4.0, 8.0]])
    mixed = prior.for_actions(new, learn_effects=learn)
    means, covs = mixed.marginals()
    rng, size = np.random.default_rng(10), 20_000
    b = np.column_stack([np.ones(3), (new - z.mean(axis=0)) / z.std(axis=0)])
    roots = [np.linalg.cholesky(part) for part in (prior.feature_cov, prior.row_cov, prior.action_cov)]
    B = prior.effects + learn * (roots[0] @ rng.normal(size=(size, 3, 2)) @ roots[1].T)
    drawn = b @ B + rng.normal(size=(size, 3, 2)) @ roots[2].T
    assert (np.abs(drawn.mean(axis=0) - means) < 4.5 * drawn.std(axis=0) / np.sqrt(size)).all()
    off = (drawn - means).reshape(size, 6)
    products = off[:, :, None] * off[:, None, :]
    weights = np.kron(b, np.eye(2))
    truth = weights @ mixed.effect_cov @ weights.T + np.kron(np.eye(3), mixed.action_cov)
    assert (np.abs(products.mean(axis=0) - truth) < 4.5 * products.std(axis=0) / np.sqrt(size)).all()
    for a in range(3):
        np.testing.assert_allclose(covs[a], truth[2 * a : 2 * a + 2, 2 * a : 2 * a + 2], atol=1e-12)


def test_items_picked_at_random_are_those_of_the_fit() -> None:
    """Moments of two items of one draw against those over all pairs of past items; |z| < 4.5."""
    theta, z = items(12, 2, 2, 11)
    prior = FeaturePrior.fit(theta, z)
    drawn = np.array([prior.sample(rng, 2) for rng in np.random.default_rng(12).spawn(8000)])
    means, covs = prior.for_actions(z).marginals()
    off = drawn - means.mean(axis=0)
    assert (np.abs(off.mean(axis=0)) < 4.5 * off.std(axis=0) / np.sqrt(8000)).all()
    spread = means - means.mean(axis=0)
    within = off[:, 0, :, None] * off[:, 0, None, :]
    truth = covs.mean(axis=0) + spread.T @ spread / 12
    assert (np.abs(within.mean(axis=0) - truth) < 4.5 * within.std(axis=0) / np.sqrt(8000)).all()
    between = off[:, 0, :, None] * off[:, 1, None, :]
    mean_weights = prior.for_actions(z).mixing.mean(axis=0)
    shared = mean_weights @ prior.feature_cov @ mean_weights * prior.row_cov
    assert (np.abs(between.mean(axis=0) - shared) < 4.5 * between.std(axis=0) / np.sqrt(8000)).all()


def test_files_give_equal_priors(tmp_path) -> None:
    pytest.importorskip("safetensors")
    theta, z = items(12, 2, 2, 13)
    prior = FeaturePrior.fit(theta, z)
    mixed = prior.for_actions(z[:5])
    for one in (prior, mixed):
        check_prior(one)
        one.save(tmp_path / "p.safetensors")
        again = load_prior(tmp_path / "p.safetensors")
        assert type(again) is type(one)
        draws = [x.sample(np.random.default_rng(1), 5) for x in (one, again)]
        np.testing.assert_array_equal(*draws)
    np.testing.assert_array_equal(again.weights_of(z), prior.for_actions(z).mixing)


def test_a_problem_keeps_items_features(tmp_path) -> None:
    theta, z = items(12, 2, 2, 14)
    problem = BanditProblem(5, 2, FeaturePrior.fit(theta, z).for_actions(z[:5]), GaussianReward(), item_features=z[:5])
    settings, arrays = problem.state()
    again = problem_from_state(settings, arrays)
    np.testing.assert_array_equal(again.item_features, z[:5])
    assert arrays.pop("item_features") is not None
    assert problem_from_state(settings, arrays).item_features is None  # files from before
    agent = make_agent("LinTS", problem, seed=0)
    agent.save(tmp_path / "agent.npz")
    np.testing.assert_array_equal(Agent.load(tmp_path / "agent.npz").problem.item_features, z[:5])


THETA, Z = items(12, 2, 2, 15)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: FeaturePrior.fit(THETA[:3], Z[:3]), "theta must have a column or more, and two rows more"),
        (lambda: FeaturePrior.fit(np.repeat(THETA[:, :1], 2, axis=1), Z), "theta must vary along all its 2 columns"),
        (lambda: FeaturePrior.fit(THETA, Z[:5]), r"item_features must have shape \(12, any\)"),
        (lambda: FeaturePrior.fit(THETA, Z[:, :0]), "item_features must have a column"),
        (lambda: FeaturePrior.fit(THETA, Z, np.eye(3)), "noise_cov must have shape"),
        (lambda: FeaturePrior.fit(THETA, Z, np.array([-np.eye(2)] * 12)), r"noise_cov\[0\] must be positive"),
        (lambda: FeaturePrior.fit(THETA, Z, theta_is="means"), "theta_is must be one of"),
        (lambda: FeaturePrior.fit(THETA, Z).for_actions(Z[:, :1]), r"item_features must have shape \(any, 2\)"),
        (lambda: FeaturePrior.fit(THETA, Z).for_actions(Z[:0]), "item_features must have a row"),
        (lambda: FeaturePrior.fit(THETA, Z).for_actions(Z, learn_effects=1), "learn_effects must be True or False"),
        (
            lambda: BanditProblem(12, 2, FeaturePrior.fit(THETA, Z), GaussianReward()),
            "prior must be that of the actions",
        ),
    ],
)
def test_bad_input_is_named(call, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()


@pytest.mark.parametrize("features", [np.ones((4, 2)), np.ones((3, 0)), np.full((3, 1), np.nan)])
def test_a_problem_refuses_features_that_are_not_its_items(features: np.ndarray) -> None:
    mixed = FeaturePrior.fit(THETA, Z).for_actions(Z[:3])
    with pytest.raises(ValueError, match="item_features must"):
        BanditProblem(3, 2, mixed, GaussianReward(), item_features=features)
