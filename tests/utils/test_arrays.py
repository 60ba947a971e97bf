"""Factors of small matrices, singly and many at once, and roots of covariances after evidence."""

import numpy as np
import pytest

from dts_gym.utils.arrays import cholesky, conditioned_root, covariance_root, eigh, lower_root, solve_lower
from truth import random_cov


@pytest.mark.parametrize("n", [1, 2, 5])
def test_factors_of_one_matrix_are_those_of_many(n):
    rng = np.random.default_rng(0)
    matrices, right = np.stack([random_cov(rng, n) for _ in range(4)]), rng.standard_normal((4, n, 3))
    roots, rows = cholesky(matrices), rng.standard_normal((4, n + 3, n))
    for i, matrix in enumerate(matrices):
        np.testing.assert_allclose(cholesky(matrix) @ cholesky(matrix).T, matrix, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(cholesky(matrix), roots[i], rtol=1e-12)
        assert (np.triu(cholesky(matrix), 1) == 0).all()
        np.testing.assert_allclose(roots[i] @ solve_lower(roots[i], right[i]), right[i], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            solve_lower(roots[i], right[i]), solve_lower(roots, right)[i], rtol=1e-12, atol=1e-13
        )
        values, vectors = eigh(matrix)
        np.testing.assert_allclose((vectors * values) @ vectors.T, matrix, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(values, eigh(matrices)[0][i], rtol=1e-12)
        L = lower_root(rows[i])
        np.testing.assert_allclose(L @ L.T, rows[i].T @ rows[i], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(L, lower_root(rows)[i], rtol=1e-12, atol=1e-13)
        assert (np.triu(L, 1) == 0).all()


def test_what_has_no_factor_is_told_and_nothing_has_an_empty_one():
    with pytest.raises(np.linalg.LinAlgError):
        cholesky(-np.eye(2))
    nothing = np.empty((0, 0))
    assert cholesky(nothing).shape == eigh(nothing)[1].shape == (0, 0)
    assert solve_lower(nothing, np.empty((0, 3))).shape == (0, 3)


def test_a_root_does_not_depend_on_evidence_beside_it_that_rounding_makes_indefinite():
    rng = np.random.default_rng(1)
    root, G = np.stack([np.eye(3)] * 3), np.stack([random_cov(rng, 3) for _ in range(3)])
    G[1] = 1e20 * np.outer([1.0, 1 / 3, 0.7], [1.0, 1 / 3, 0.7]) - 10 * np.eye(3)
    with pytest.raises(np.linalg.LinAlgError):
        cholesky(G[1] + np.eye(3))
    F, L = conditioned_root(root, G)
    for i in range(3):
        alone = conditioned_root(root[i], G[i])
        np.testing.assert_allclose(F[i], alone[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(L[i], alone[1], rtol=1e-12, atol=1e-14)
    assert np.linalg.eigvalsh(F[1] @ F[1].T).max() <= 1.0 + 1e-12


def test_roots_of_covariances_do_not_jump_where_directions_are_known_alike():
    along = np.array([1.0, -2.0, 0.5, 0.3, 1.5])
    cov = np.eye(5) - np.outer(along, along) / (1.0 + along @ along)
    moved = cov + 1e-16 * random_cov(np.random.default_rng(0), 5)
    np.testing.assert_allclose(covariance_root(cov) @ covariance_root(cov).T, cov, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(covariance_root(moved), covariance_root(cov), rtol=1e-12, atol=1e-13)
    singular = np.diag([1.0, 0.0, 2.0, 0.0, 3.0])
    roots = covariance_root(np.stack([cov, singular, moved]))
    np.testing.assert_allclose(roots @ roots.mT, np.stack([cov, singular, moved]), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(roots[0], covariance_root(cov), rtol=1e-12, atol=1e-14)
