"""Links of many runs as one against each by itself."""

from itertools import pairwise

import numpy as np
import pytest

from dts_gym.priors.link_stacks import rows_of_link, stacked_links
from dts_gym.priors.links import AffineLink, MLPLink

rng = np.random.default_rng(0)
d = 3


def perceptron(hidden=4, activation="tanh"):
    sizes = [d, hidden, hidden, d]
    weights = [rng.standard_normal((m, k)) for k, m in pairwise(sizes)]
    return MLPLink(weights, [rng.standard_normal(m) for m in sizes[1:]], activation)


@pytest.mark.parametrize("make", [perceptron, lambda: AffineLink(rng.standard_normal((d, d)), rng.standard_normal(d))])
def test_values_and_jacobians_are_those_of_each_link(make):
    links = [make() for _ in range(4)]
    stacked, psi = stacked_links(links), rng.standard_normal((4, 5, d))
    value, slope = stacked.value_and_jacobian(psi)
    np.testing.assert_array_equal(value, stacked(psi))
    some = rows_of_link(stacked, np.array([1, 1, 3]))
    for i, link in enumerate(links):
        np.testing.assert_allclose(value[i], [link(point) for point in psi[i]], rtol=1e-13)
        if not link.affine:
            np.testing.assert_allclose(slope[i], [link.jacobian(point) for point in psi[i]], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(some(psi[:3])[1], links[1](psi[1]), rtol=1e-13)
    np.testing.assert_allclose(some(psi[:3])[2], links[3](psi[2]), rtol=1e-13)


def test_the_same_link_serves_all_and_other_sizes_are_refused():
    link = perceptron()
    assert stacked_links([link, link]) is link
    assert rows_of_link(link, np.array([0, 0])) is link
    assert stacked_links([perceptron(4), perceptron(5)]) is None
    assert stacked_links([perceptron(4), perceptron(4, "relu")]) is None
    assert stacked_links([link, AffineLink(np.eye(d))]) is None
