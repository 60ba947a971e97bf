"""Priors kept in the cache: made once for each setting and data set, read without torch, made anew where damaged."""

import numpy as np
import pytest

from dts_gym import random_linear_prior
from dts_gym.pretraining import prior_cache
from dts_gym.pretraining.prior_cache import cached_fit

pytest.importorskip("safetensors", reason="safetensors is not installed")


@pytest.fixture
def fits(monkeypatch, tmp_path):
    """Calls of a stand-in for the training, which takes torch; the cache is empty."""
    calls = []

    def fit(theta, depth, **settings):
        calls.append((theta.shape, depth, settings))
        return random_linear_prior(theta.shape[1], depth, seed=len(calls))

    monkeypatch.setattr(prior_cache, "fit", fit)
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    return calls


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.weights, b.weights, strict=True))


def test_a_prior_is_trained_once(fits):
    theta = np.random.default_rng(0).standard_normal((20, 2))
    first = cached_fit(theta, 3, hidden=8)
    assert same(first, cached_fit(theta.copy(), 3, hidden=8))
    assert len(fits) == 1
    assert same(first, cached_fit(theta.tolist(), 3, hidden=8, progress=True, device="cpu"))
    assert len(fits) == 1


def test_other_vectors_or_settings_are_another_prior(fits):
    theta = np.random.default_rng(0).standard_normal((20, 2))
    cached_fit(theta, 3)
    for other in ((theta + 1e-9, 3, {}), (theta[:-1], 3, {}), (theta, 4, {}), (theta, 3, {"seed": 1})):
        before = len(fits)
        cached_fit(*other[:2], **other[2])
        assert len(fits) == before + 1


def test_one_training_serves_all_branches_and_numbers_of_numpy(fits):
    theta = np.random.default_rng(0).standard_normal((20, 2))
    assert [cached_fit(theta, 3, branch=branch).branch for branch in (0, 2, np.int64(3))] == [0, 2, 3]
    cached_fit(theta, np.int64(3), branch=None)
    assert len(fits) == 1
    cached_fit(theta, 3, branch="auto", hidden=np.int64(8))
    assert fits[1][2] == {"branch": "auto", "hidden": 8}


def test_a_damaged_file_is_made_anew(fits, tmp_path):
    theta = np.random.default_rng(0).standard_normal((20, 2))
    cached_fit(theta, 3)
    (file,) = (tmp_path / "cache" / "priors").iterdir()
    file.write_bytes(b"no prior")
    with pytest.warns(UserWarning, match="the cached prior is made anew: "):
        cached_fit(theta, 3)
    assert len(fits) == 2
    cached_fit(theta, 3)
    assert len(fits) == 2
