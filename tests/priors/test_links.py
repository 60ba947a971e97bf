"""Links against perceptrons written out in complex numbers: an imaginary step is a derivative without differences."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dts_gym.priors.links import AffineLink, Link, MLPLink, finite_value, link_from_state

ACTIVATIONS = ["relu", "tanh", "silu"]
COMPLEX = {
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "tanh": lambda z: (np.exp(z) - np.exp(-z)) / (np.exp(z) + np.exp(-z)),
    "silu": lambda z: z / (1 + np.exp(-z)),
}


class FirstOnly(AffineLink):
    """Breaks the contract: loses all coordinates but the first."""

    def __call__(self, psi):
        return psi[..., :1]


def random_link(activation, widths, seed=0):
    rng = np.random.default_rng(seed)
    weights = [rng.uniform(-1, 1, (out, inp)) for inp, out in pairwise(widths)]
    return MLPLink(weights, [rng.standard_normal(n) for n in widths[1:]], activation)


def by_hand(link, psi):
    """One point, unit by unit, in complex numbers."""
    h = psi.astype(complex)
    for i, (W, b) in enumerate(zip(link.weights, link.biases, strict=True)):
        h = np.array([sum(W[r, c] * h[c] for c in range(W.shape[1])) + b[r] for r in range(W.shape[0])])
        if i < len(link.weights) - 1:
            h = COMPLEX[link.activation](h)
    return h


@settings(deadline=None, max_examples=60)
@given(
    activation=st.sampled_from(ACTIVATIONS),
    dim=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 6), max_size=3),
    lead=st.lists(st.integers(0, 3), max_size=3),
    seed=st.integers(0, 2**20),
)
def test_value_and_jacobian_are_those_of_the_network_in_any_batch(activation, dim, hidden, lead, seed):
    link = random_link(activation, [dim, *hidden, dim], seed)
    psi = np.random.default_rng(seed + 1).standard_normal((*lead, dim))
    value, jacobian = link.value_and_jacobian(psi)
    assert value.shape == psi.shape
    assert jacobian.shape == (*psi.shape, dim)
    np.testing.assert_allclose(link(psi), value, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(link.jacobian(psi), jacobian, rtol=1e-13, atol=1e-13)
    for index in np.ndindex(*lead):
        np.testing.assert_allclose(value[index], by_hand(link, psi[index]).real, rtol=1e-10, atol=1e-12)
        for j in range(dim):
            bent = by_hand(link, psi[index] + 1e-30j * np.eye(dim)[j])
            np.testing.assert_allclose(jacobian[index][:, j], bent.imag / 1e-30, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobian_is_the_slope_between_neighbours(activation):
    link = random_link(activation, [3, 7, 5, 3])
    psi = np.random.default_rng(5).standard_normal((20, 3))
    for j in range(3):
        step = 1e-6 * np.eye(3)[j]
        slope = (link(psi + step) - link(psi - step)) / 2e-6
        np.testing.assert_allclose(link.jacobian(psi)[:, :, j], slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_far_inputs_stay_finite(activation):
    link = random_link(activation, [2, 4, 2])
    value, jacobian = link.value_and_jacobian(np.array([[1e8, -1e8], [-1e200, 1e200]]))
    assert np.isfinite(value).all()
    assert np.isfinite(jacobian).all()


def test_a_network_of_one_layer_is_an_affine_map():
    weight, bias = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
    psi = np.random.default_rng(0).standard_normal((3, 2))
    for mine, its in zip(
        MLPLink([weight], [bias]).value_and_jacobian(psi),
        AffineLink(weight, bias).value_and_jacobian(psi),
        strict=True,
    ):
        np.testing.assert_allclose(mine, its, rtol=1e-14)


@pytest.mark.parametrize("link", [random_link("silu", [2, 3, 4, 2]), AffineLink(np.eye(2) * 3, [1.0, 2.0])])
def test_a_saved_link_comes_back(link):
    settings_, arrays = link.state()
    again = link_from_state(settings_, arrays)
    psi = np.random.default_rng(0).standard_normal((5, 2))
    assert type(again) is type(link)
    for mine, its in zip(again.value_and_jacobian(psi), link.value_and_jacobian(psi), strict=True):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([],), "weights must hold one array a layer, got none"),
        (([np.ones((3, 2)), np.ones((2, 4))],), r"weights\[1\] must have shape \(any, 3\), got shape \(2, 4\)"),
        (([np.ones((3, 2)), np.ones((1, 3))],), r"weights\[-1\] must have as many rows"),
        (([np.ones((2, 2))], [np.ones(2), np.ones(2)]), "biases must hold one array a layer: 1, got 2"),
        (([np.ones((2, 2))], [np.ones(3)]), r"biases\[0\] must have shape \(2,\)"),
        (([np.full((2, 2), np.nan)],), r"weights\[0\] must be finite"),
        (([np.ones((0, 2)), np.ones((2, 0))],), r"weights\[0\] must not be empty"),
        (([np.ones((2, 2))], None, "gelu"), "activation must be one of .* got 'gelu'"),
    ],
)
def test_bad_networks_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        MLPLink(*arguments)


def test_unknown_kinds_and_unsaveable_links_are_refused():
    class OwnLink(Link):
        dim = 1

        def __call__(self, psi):
            return psi

        def jacobian(self, psi):
            return np.ones((*psi.shape, 1))

    with pytest.raises(ValueError, match="got a OwnLink"):
        OwnLink().state()
    with pytest.raises(ValueError, match="got 'spline'"):
        link_from_state({"kind": "spline"}, {})


def test_a_value_that_is_not_finite_is_refused_with_its_place():
    steep = AffineLink(np.array([[1e200]]))
    assert finite_value(steep, np.ones((2, 1))).shape == (2, 1)
    with pytest.raises(ValueError, match=r"links\[3\] must return finite values, got \[inf\] at psi = \[1\.e\+150\]"):
        finite_value(steep, np.array([[1.0], [1e150]]), "links[3]")
    with pytest.raises(ValueError, match=r"link must keep the shape \(2,\), got a value of shape \(1,\)"):
        finite_value(FirstOnly(np.eye(2)), np.ones(2))


def test_a_relu_has_no_slope_at_its_kink():
    """As documented: a point at the kink gets no slope, in `jacobian` and beside the value."""
    link = MLPLink([np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2)], "relu")
    np.testing.assert_array_equal(link.jacobian(np.array([0.0, 1.0])), np.diag([0.0, 1.0]))
    np.testing.assert_array_equal(link.value_and_jacobian(np.zeros((3, 2)))[1], np.zeros((3, 2, 2)))
