"""The conformance suite of priors passes correct priors and finds faulty ones."""

import numpy as np
import pytest

from dts_gym import (
    AffineLink,
    DiffusionPrior,
    LinearDiffusionPrior,
    Link,
    MLPLink,
    random_linear_prior,
    random_mlp_prior,
)
from dts_gym.checks.agent_checks import check_prior
from dts_gym.priors.denoisers import DenoiserLink, DenoiserNetwork


class Sine(Link):
    """A link of one's own: ``f(psi) = psi + W sin(psi)``."""

    def __init__(self, dim=3):
        self.dim = dim
        self.weight = np.random.default_rng(0).standard_normal((dim, dim)) / 2

    def __call__(self, psi):
        return psi + np.sin(psi) @ self.weight.T

    def jacobian(self, psi):
        return np.eye(self.dim) + self.weight * np.cos(psi)[..., None, :]


def chain(link, depth=2, branch=0):
    covariances = [np.diag([0.5, 1.0, 0.0]), *[np.eye(3) + 0.3] * depth]
    return DiffusionPrior([link] * depth, covariances, branch)


class Single(Sine):
    """In single precision, as a network of another library may be."""

    def __call__(self, psi):
        psi = np.asarray(psi, dtype=np.float32)
        return psi + np.sin(psi) @ self.weight.astype(np.float32).T


def denoisers():
    rng = np.random.default_rng(0)
    network = DenoiserNetwork(
        rng.standard_normal((8, 3)), *rng.standard_normal((2, 1, 8, 8)) / 3, rng.standard_normal((3, 8)) / 4,
        np.zeros(3), rng.standard_normal((2, 2, 8)),
    )  # fmt: skip
    return [DenoiserLink(network, 1, 0.6, 1.0), DenoiserLink(network, 2, 0.2, 0.6)]


@pytest.mark.parametrize(
    "prior",
    [
        random_linear_prior(3, 2, branch=1),
        LinearDiffusionPrior([], [np.eye(2)]),
        LinearDiffusionPrior([np.zeros((1, 1))], [np.zeros((1, 1))] * 2, [np.ones(1)]),
        random_mlp_prior(5, 3, branch=2),
        random_mlp_prior(2, 2, activation="silu", branch=2),
        chain(Sine()),
        chain(Sine(), branch=1),
        LinearDiffusionPrior([np.ones((3, 3)), np.eye(3)], [np.eye(3) - 1 / 3] * 3, branch=1),  # levels that sum to 0
        chain(Sine(), branch=2),
        chain(Single()),
        DiffusionPrior([AffineLink(2 * np.eye(1)), MLPLink([[[1.0]], [[-1.0]]])], [np.eye(1)] * 3),
        DiffusionPrior(denoisers(), [0.1 * np.eye(3), 0.3 * np.eye(3), np.eye(3)], branch=1),
    ],
)
def test_right_priors_pass(prior):
    check_prior(prior)


def faulty(**methods):
    return type("Faulty", (Sine,), methods)()


def sine_value(self, psi):
    return Sine.__call__(self, psi)


def sine_jacobian(self, psi):
    return Sine.jacobian(self, psi)


def touching(self, psi):
    psi += 0.0 if psi.ndim > 1 else 1.0
    return sine_value(self, psi)


def in_units(right):
    """Methods of a link whose first coordinate has other units; the Jacobian's entries where ``right`` is 1."""
    return {
        "__call__": lambda s, x: UNITS * sine_value(s, x / UNITS),
        "jacobian": lambda s, x: UNITS[:, None] * sine_jacobian(s, x / UNITS) / UNITS * right,
    }


RNG = np.random.default_rng(0)
UNITS = np.array([1e5, 1.0, 1.0])
FAULTS = {
    "transposed": ({"jacobian": lambda s, x: sine_jacobian(s, x).swapaxes(-1, -2)}, "agree with finite differences"),
    "slightly off": ({"jacobian": lambda s, x: 1.005 * sine_jacobian(s, x)}, "agree with finite differences"),
    "off on a side": (
        {"jacobian": lambda s, x: sine_jacobian(s, x) * (1 + (x[..., :1, None] > 0))},
        "agree with finite differences",
    ),
    "a row forgotten in small units": (in_units([[1, 1, 1], [1, 1, 1], [0, 0, 0]]), "agree with finite differences"),
    "entries forgotten in large units": (in_units([[1, 1, 1], [0, 1, 1], [0, 1, 1]]), "agree with finite differences"),
    "one matrix": ({"jacobian": lambda s, x: np.eye(3)}, r"must have shape \(16, 3, 3\), got \(3, 3\)"),
    "infinite slope": ({"jacobian": lambda s, x: sine_jacobian(s, x) / 0.0}, "jacobian of links.0. must be finite"),
    "drop-out": ({"__call__": lambda s, x: sine_value(s, x) * (RNG.random(x.shape) > 0.1)}, "when asked again"),
    "normalised": (
        {"__call__": lambda s, x: sine_value(s, x) - (sine_value(s, x).mean(axis=0) if x.ndim > 1 else 0.0)},
        "alone and in a batch",
    ),
    "not a number": ({"__call__": lambda s, x: sine_value(s, x) + np.nan}, "must return finite values"),
    "a column": ({"__call__": lambda s, x: sine_value(s, x)[..., :1]}, "must keep the shape"),
    "flat": ({"__call__": lambda s, x: sine_value(s, x.reshape(-1, 3))}, "must keep the shape"),
    "writes": ({"__call__": touching}, "must leave the points that it is asked about unchanged"),
    "list": ({"__call__": lambda s, x: sine_value(s, x).tolist()}, "has no attribute 'shape'"),
    "not so straight": ({"affine": True}, "has affine set to True, but is not affine"),
    "not so straight, high up": ({"affine": True, "__call__": lambda s, x: sine_value(s, x) + 1e5}, "is not affine"),
    "two sides": (
        {"value_and_jacobian": lambda s, x: (s(x) + 0.1, s.jacobian(x))},
        "value_and_jacobian of links.0. must return the value as it is alone",
    ),
    "two sides of one point": (
        {"value_and_jacobian": lambda s, x: (s(x), s.jacobian(x) * (1.0 if x.ndim > 1 else 1.1))},
        "value_and_jacobian of links.0. at one point must return the jacobian as it is alone",
    ),
    "a vector for one point": (
        {"jacobian": lambda s, x: sine_jacobian(s, x) if x.ndim > 1 else sine_jacobian(s, x)[0]},
        r"jacobian of links.0. at one point must have shape \(3, 3\), got \(3,\)",
    ),
    "another slope for one point": (
        {"jacobian": lambda s, x: sine_jacobian(s, x) * (1.0 if x.ndim > 1 else 1.1)},
        "jacobian of links.0. must be at one point what it is in a batch",
    ),
    "one axis alone": (
        {"jacobian": lambda s, x: sine_jacobian(s, x.reshape(-1, 3)) if x.ndim > 1 else sine_jacobian(s, x)},
        r"at a batch of two axes must have shape \(2, 8, 3, 3\), got \(16, 3, 3\)",
    ),
    "complex": ({"__call__": lambda s, x: sine_value(s, x) + 0j}, "must return real numbers, got complex128"),
    "complex slope": ({"jacobian": lambda s, x: sine_jacobian(s, x) + 0j}, "must be of real numbers, got complex128"),
    "predictor": ({"affine_predictor": lambda s: (np.eye(3), np.zeros((3, 1)))}, "affine_predictor of links.0."),
    "no predictor": ({"affine_predictor": lambda s: (np.full((3, 3), np.nan), np.zeros(3))}, "must be finite"),
    "a kind of its own": ({"state": lambda s: ({"kind": "own"}, {})}, r"state\(\) must return what a prior can be"),
    "surrogate": ({"surrogate": "exact"}, "surrogate of links.0. must be in"),
}  # fmt: skip


def test_units_are_no_fault():
    check_prior(chain(faulty(**in_units(np.ones((3, 3))))))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_faults_of_links_are_found(fault):
    methods, message = FAULTS[fault]
    with pytest.raises(AssertionError, match=message):
        check_prior(chain(faulty(**methods)))


def wrapped(**methods):
    """A prior of one's own, which draws by itself."""
    kind = type("Own", (DiffusionPrior,), methods)
    return kind([Sine()] * 2, [np.eye(3)] * 3, 1)


def own_chain(change):
    """Draws by hand, in which something may be ``change``-d: who shares what, a scale, a sign."""

    def sample_chain(self, rng, num_actions):
        shared = change.get("shared", 1)
        levels = [rng.standard_normal((shared if shared == 1 else num_actions, 3))]
        for ell in (1, 0):
            noise = change.get(f"std {ell}", 1.0) * rng.standard_normal((num_actions, 3))
            levels.append(self.links[ell](levels[-1]) + noise)
        psi = levels.pop()
        if change.get("flip"):
            psi = psi * np.sign(rng.standard_normal((num_actions, 1)))
        if change.get("copy"):
            psi[3:] = psi[0]
        if change.get("apart"):
            levels[1] = self.links[1](levels[0]) + rng.standard_normal((num_actions, 3))
        return [psi, levels[1], levels[0][:1]]

    return {"sample_chain": sample_chain, "sample": lambda s, rng, n: sample_chain(s, rng, n)[0]}


def test_a_prior_that_draws_by_itself_is_held_against_its_links():
    check_prior(wrapped(**own_chain({})))
    for change in ("shared", "std 0", "std 1", "flip", "copy", "apart"):
        with pytest.raises(AssertionError, match="sample_chain must have the distribution of the chain"):
            check_prior(wrapped(**own_chain({change: 1.3})))


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"sample": lambda s, rng, n: np.zeros((n, 2))}, r"sample must return shape \(3, 3\)"),
        ({"sample": lambda s, rng, n: np.full((n, 3), np.inf)}, "sample must return finite parameters"),
        ({"sample": lambda s, rng, n: RNG.standard_normal((n, 3))}, "sample must depend on its generator alone"),
        ({"sample": lambda s, rng, n: np.zeros((n, 3))}, "sample must draw from its generator"),
        ({"sample_chain": lambda s, rng, n: [np.zeros((n, 3))] * 3}, "sample_chain must return shapes|must draw from"),
        ({"with_branch": lambda s, branch: s}, r"with_branch\(0\) must have that branch, got 1"),
        ({"state": lambda s: random_linear_prior(3, 2).state()}, "must draw the same under the same seed"),
    ],
)
def test_faults_of_priors_are_found(methods, message):
    with pytest.raises(AssertionError, match=message):
        check_prior(wrapped(**methods))


def test_a_covariance_that_is_none_is_found():
    prior = chain(Sine())
    prior.covariances = (np.eye(3), np.diag([1.0, 1.0, -1.0]), np.eye(3))
    with pytest.raises(AssertionError, match=r"covariances\[1\] must be positive semi-definite"):
        check_prior(prior)
    prior.covariances = (np.eye(3), np.eye(3), np.eye(3).tolist())
    with pytest.raises(AssertionError, match=r"covariances\[2\] must be a NumPy array, got \[\[1.0"):
        check_prior(prior)
    with pytest.raises(AssertionError, match="a prior must be a dts_gym Prior, got 3"):
        check_prior(3)
