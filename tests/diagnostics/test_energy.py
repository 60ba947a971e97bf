"""Energy distances against the closed form in one dimension, and the score's distribution for equal samples."""

import numpy as np
import pytest
from scipy.special import erf

from dts_gym.diagnostics import energy
from dts_gym.diagnostics.energy import energy_distance, energy_score


def mean_absolute(mean, std):
    """``E|Z|`` of a normal variable."""
    return std * np.sqrt(2 / np.pi) * np.exp(-(mean**2) / (2 * std**2)) + mean * erf(mean / (std * np.sqrt(2)))


def closed_form(mean, std):
    """Of N(0, 1) and N(mean, std^2)."""
    return 2 * mean_absolute(mean, np.hypot(1, std)) - mean_absolute(0, np.sqrt(2)) - mean_absolute(0, std * np.sqrt(2))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 1.0), (0.0, 2.0), (-1.5, 0.3)])
def test_the_distance_of_two_normal_laws_is_unbiased(mean, std):
    """|z| < 4.5, standard error from 200 repetitions with samples of different sizes."""
    rng = np.random.default_rng(0)
    found = [
        energy_distance(rng.standard_normal((60, 1)), mean + std * rng.standard_normal((40, 1))) for _ in range(200)
    ]
    assert abs(np.mean(found) - closed_form(mean, std)) / (np.std(found) / np.sqrt(200)) < 4.5


def test_the_distance_of_two_samples_is_the_sum_over_pairs(monkeypatch):
    monkeypatch.setattr(energy, "_CHUNK_ENTRIES", 20)  # in parts
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((9, 3)) + 1
    xy, xx, yy = (sum(np.linalg.norm(a - b) for a in p for b in q) for p, q in ((x, y), (x, x), (y, y)))
    assert energy_distance(x, y) == pytest.approx(2 * xy / 63 - xx / 42 - yy / 72)
    assert energy_distance(x, y, unbiased=False) == pytest.approx(2 * xy / 63 - xx / 49 - yy / 81)
    assert energy_distance(y, x) == pytest.approx(energy_distance(x, y))


def test_splits_are_the_distances_of_their_parts(monkeypatch):
    """The matrix form of the null against the definition, for the very splits that were drawn."""
    monkeypatch.setattr(energy, "_CHUNK_ENTRIES", 50)
    sample = np.random.default_rng(2).standard_normal((23, 2))
    found = energy._split_distances(sample, 9, 20, np.random.default_rng(3))
    ranks = np.random.default_rng(3).random((20, 23)).argsort(axis=1).argsort(axis=1)
    for distance, rank in zip(found, ranks, strict=True):
        assert distance == pytest.approx(energy_distance(sample[rank < 9], sample[rank >= 9]))


def test_scores_of_the_same_law_are_standard_normal():
    """225 independent scores: mean 0, variance 1, and 5 % above 1.645, each within 4.5 standard errors.

    Correlated and shifted on purpose: whitening takes that out. A raw z, distance over spread, fails the last line:
    its upper tail is that of a chi-square.
    """
    rng = np.random.default_rng(4)
    mix, shift = np.array([[3.0, 0.0], [2.9, 0.1]]), np.array([100.0, -5.0])
    found = []
    for _ in range(225):
        x, truth = (rng.standard_normal((n, 2)) @ mix.T + shift for n in (40, 80))
        found.append(energy_score(x, truth, rng, 200))
    z = np.array([score.z_score for score in found])
    assert abs(z.mean()) * 15 < 4.5
    assert abs((z**2).mean() - 1) / np.sqrt(2 / 225) < 4.5
    assert abs((z > 1.645).mean() - 0.05) / np.sqrt(0.05 * 0.95 / 225) < 4.5
    assert (z > 3.5).sum() <= 2  # 0.05 expected
    floor = np.mean([score.noise_floor for score in found])
    assert 0.85 < np.sqrt(np.mean([score.distance**2 for score in found])) / floor < 1.15


def test_the_score_sees_what_differs():
    rng = np.random.default_rng(5)
    truth = rng.standard_normal((2_000, 3))
    angle = rng.uniform(0, 2 * np.pi, 1_000)
    ring = np.column_stack([np.sqrt(2) * np.cos(angle), np.sqrt(2) * np.sin(angle), rng.standard_normal(1_000)])
    samples = {
        "shifted": rng.standard_normal((1_000, 3)) + 0.2,
        "wider": 1.3 * rng.standard_normal((1_000, 3)),
        "ring of the same moments": ring,
        "far": rng.standard_normal((1_000, 3)) + 1e4,
    }
    for name, x in samples.items():
        score = energy_score(x, truth, rng)
        assert np.isfinite(score.z_score), name
        assert score.z_score > 5.0, name
        assert score.noise_floor < 0.01, name
    assert energy_score(rng.standard_normal((1_000, 3)), truth, rng).z_score < 4.5


def test_refusals_name_the_argument():
    rng = np.random.default_rng(6)
    truth = rng.standard_normal((30, 2))
    with pytest.raises(ValueError, match="y must have shape"):
        energy_distance(truth, truth[:, :1])
    with pytest.raises(ValueError, match="x must have two rows at least, got 1"):
        energy_distance(truth[:1], truth)
    with pytest.raises(ValueError, match="truth must have a covariance of full rank"):
        energy_score(truth, truth @ np.ones((2, 2)), rng)
    with pytest.raises(ValueError, match="x must be finite"):
        energy_score(truth * np.nan, truth, rng)
    with pytest.raises(ValueError, match="num_splits must be an integer >= 20"):
        energy_score(truth, truth, rng, 3)
