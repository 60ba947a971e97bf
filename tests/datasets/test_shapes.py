"""Shapes: their scale, their formulas, and the bandit drawn from them."""

from typing import get_args

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import random_linear_prior
from dts_gym.datasets import Shape, sample_shape

SHAPES = get_args(Shape)
N = 20_000


def draws(name, size=N, dim=None, seed=0):
    return sample_shape(name, np.random.default_rng(seed), size, dim)


@pytest.mark.parametrize("dim", [None, 2, 5])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_has_mean_zero_and_as_much_variance_as_coordinates(name, dim):
    # 3 dimensions, 10 shapes, at most 6 statistics with |z| < 4.5: a false alarm in 1 000 runs.
    theta = draws(name, dim=dim)
    d = theta.shape[1]
    assert d == dim or (dim is None and d == (3 if name == "swiss-roll" else 2))
    assert (np.abs(theta.mean(axis=0)) / (theta.std(axis=0) / np.sqrt(N))).max() < 4.5
    squares = (theta**2).sum(axis=1)
    assert abs(squares.mean() - d) / (squares.std() / np.sqrt(N)) < 4.5


def chi_square(found, expected):
    return ((found - expected) ** 2 / expected).sum()


def test_the_cross_has_normal_jitter_around_two_uniform_strokes():
    scale = np.sqrt(1 / 6 + 0.05**2)  # the variance of a coordinate that is uniform on [-1, 1] half of the time
    theta = draws("cross") * scale
    across = np.abs(theta).min(axis=1)
    far = np.abs(theta).max(axis=1) > 0.3  # where the strokes are apart
    assert np.abs(across[far]).max() < 6 * 0.05
    assert abs(np.sqrt((across[far] ** 2).mean()) / 0.05 - 1) < 4.5 / np.sqrt(2 * far.sum())
    along = np.abs(theta).max(axis=1)[far]
    counts = np.histogram(along, bins=7, range=(0.3, 0.86))[0]
    assert chi_square(counts, counts.mean()) < 40  # 6 degrees of freedom: a false alarm in a million
    assert abs((np.abs(theta[far, 0]) > np.abs(theta[far, 1])).mean() - 0.5) < 4.5 / np.sqrt(4 * far.sum())


def test_the_corners_are_four_filled_squares():
    theta = draws("corners") * np.sqrt(1 + 0.25 / 12)
    assert np.abs(theta).min() >= 0.75
    assert np.abs(theta).max() <= 1.25
    cells = np.floor((np.abs(theta) - 0.75) * 8).astype(int) + 4 * (theta > 0)  # (N, 2), 8 cells a side
    counts = np.bincount(8 * cells[:, 0] + cells[:, 1], minlength=64)
    assert chi_square(counts, N / 64) < 128  # 63 degrees of freedom: a false alarm in 400 000


def test_the_swiss_roll_is_rolled():
    center = np.array([2.0, 2 / (3 * np.pi)])  # of t (cos t, sin t), t on [1.5 pi, 4.5 pi]
    variance = np.pi**2 * (4.5**3 - 1.5**3) / 9 - center @ center
    points = draws("swiss-roll")[:, :2] * np.sqrt(variance / 2 + 0.3**2) + center
    radius, angle = np.linalg.norm(points, axis=1), np.arctan2(points[:, 1], points[:, 0])
    off = (radius - angle + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(off).max() < 6 * 0.3
    assert 0.29 < off.std() < 0.32  # the jitter across, and a little along
    assert 1.5 * np.pi - 6 * 0.3 < radius.min() < radius.max() < 4.5 * np.pi + 6 * 0.3


def test_the_rings_the_mixture_and_the_triangles_have_their_shares():
    theta = draws("rings") * np.sqrt((1 / 12 + 2 / 3) / 2 + 0.05**2)
    radius = np.linalg.norm(theta, axis=1)
    assert abs((radius < 0.75).mean() - 1 / 3) < 4.5 * np.sqrt(2 / 9 / N)
    assert abs(radius[radius < 0.75].mean() - 0.5) < 0.01
    mixture = draws("mixture", dim=5)
    assert abs((mixture[:, 2:] ** 4).mean() - 3) < 4.5 * np.sqrt(96 / (3 * N))  # normal, not uniform, from the third on
    # The hole in the middle of the three triangles, around their common centre, is a triangle of a quarter of the area.
    assert np.linalg.norm(draws("triangles"), axis=1).min() > 0.5
    assert np.abs(draws("moons", dim=3)[:, 2]).max() < np.sqrt(3)


def test_draws_follow_the_generator_and_none_is_an_answer():
    np.testing.assert_array_equal(draws("H", 7), draws("H", 7))
    assert (draws("H", 7) != draws("H", 7, seed=1)).any()
    assert draws("H", 0).shape == (0, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("circle", 3), "shape must be one of .*'swiss-roll'.*, got 'circle'"),
        (("cross", -1), "size must be an integer >= 0, got -1"),
        (("cross", 3, 1), "dim must be an integer >= 2, got 1"),
    ],
)
def test_bad_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        draws(*settings)


def test_the_bandits_parameters_are_the_shapes_and_its_past_is_others():
    env = gym.make("SyntheticBandit-v0", shape="corners", num_actions=200, num_past=500).unwrapped
    problem = env.problem
    assert problem.past_parameters.shape == (500, 2)
    collapsed = problem.prior.two_level()
    np.testing.assert_allclose(collapsed.mean, problem.past_parameters.mean(axis=0), atol=1e-12)
    total = collapsed.shared_cov + collapsed.action_cov
    np.testing.assert_allclose(total, np.cov(problem.past_parameters, rowvar=False), atol=1e-12)
    env.reset(seed=0)
    first = env.instance.parameters
    assert first.shape == (200, 2)
    assert np.abs(first).min() > 0.7
    assert not np.isin(first, problem.past_parameters).any()
    env.reset(seed=1)
    assert (env.instance.parameters != first).all()
    other = gym.make("SyntheticBandit-v0", shape="corners", num_past=500, past_seed=1).unwrapped.problem
    assert (other.past_parameters != problem.past_parameters).all()


def test_one_parameter_can_be_shared_and_contexts_have_their_law():
    settings = {"shape": "H", "features": "shared", "num_actions": 300, "feature_law": "ball", "fixed_features": True}
    env = gym.make("SyntheticBandit-v0", **settings)
    first, _ = env.reset(seed=0)
    assert first.shape == (300, 2)
    assert env.unwrapped.instance.parameters.shape == (2,)
    assert np.linalg.norm(first, axis=1).max() <= 1
    np.testing.assert_array_equal(env.step(0)[0], first)
    disjoint = gym.make("SyntheticBandit-v0", feature_law="ball", num_actions=3)
    contexts = np.array([disjoint.reset(seed=seed)[0] for seed in range(500)])
    assert contexts.shape == (500, 3)
    norms = np.linalg.norm(contexts, axis=1)
    assert norms.max() <= 1
    assert abs((norms**3).mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / 500)  # uniform in the ball


def test_a_prior_of_ones_own_is_the_problems():
    prior = random_linear_prior(3, 4)
    assert gym.make("SyntheticBandit-v0", prior=prior).unwrapped.problem.prior is prior
    with pytest.raises(ValueError, match="prior must have dim 2, got a prior of dim 3"):
        gym.make("SyntheticBandit-v0", prior=prior, shape="cross")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "square"}, "shape must be one of"),
        ({"dim": 1}, "dim must be an integer >= 2, got 1"),
        ({"num_past": 1}, "num_past must be an integer >= 2, got 1"),
        ({"past_seed": -1}, "past_seed must be an integer >= 0, got -1"),
        ({"features": "joint"}, "features must be one of"),
        ({"feature_law": "simplex"}, "feature_law must be one of"),
        ({"prior": 3}, "prior must be a dts_gym Prior or a file of one, got 3"),
    ],
)
def test_bad_settings_of_the_bandit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gym.make("SyntheticBandit-v0", **settings)
