"""MovieLens with genres and years: which movies are played, the prior over features, refusals."""

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dts_gym
from dts_gym import random_linear_prior
from dts_gym.datasets import load_ratings
from truth import GENRES, rated_movies

ID = "MovieLensBandit-v0"
SMALL = {"num_actions": 10, "rank": 3, "min_ratings": 5, "movie_features": True, "horizon": 30}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return rated_movies(tmp_path_factory.mktemp("ratings"))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


def test_actions_are_named_by_the_titles_of_their_features(data):
    env = made(data)
    years = [int(name[-5:-1]) for name in env.problem.action_names if name != "movie 7"]
    known = [name != "movie 7" for name in env.problem.action_names]
    np.testing.assert_array_equal(years, env.problem.item_features[known, -1])
    assert gym.make(ID, data=data, **{**SMALL, "movie_features": False}).unwrapped.problem.action_names is None


def made(data, **settings):
    return gym.make(ID, data=data, **{**SMALL, **settings}).unwrapped


def test_gymnasiums_checks_pass_and_a_copy_continues_alike(data):
    env = made(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)
    assert env.metadata["render_fps"] == 10  # Gymnasium's own, as always
    env.reset(seed=0)
    copy = pickle.loads(pickle.dumps(env))
    one, same = env.step(3), copy.step(3)
    np.testing.assert_array_equal(one[0], same[0])
    assert one[1:] == same[1:]


def test_the_movies_are_drawn_with_the_prior_and_a_reset_draws_users_and_noise(data):
    env, same, other = (made(data, prior_seed=seed) for seed in (None, 0, 1))
    z = env.problem.item_features
    assert z.shape == (10, 4)
    np.testing.assert_array_equal(same.problem.item_features, z)
    assert (other.problem.item_features != z).any()
    contexts, played = [], []
    for seed in range(3):
        contexts.append(env.reset(seed=seed)[0])
        played.append(env.instance.parameters)
    np.testing.assert_array_equal(played[1], played[0])
    assert not np.array_equal(contexts[0], contexts[1])
    other.reset(seed=0)
    assert (other.instance.parameters != played[0]).any()


def test_rows_of_features_are_those_of_the_movies_that_are_played(data):
    env = made(data, num_actions=40)
    env.reset(seed=0)
    factors = dts_gym.datasets.cached_factors(data, 3)
    ids = load_ratings(data).movie_ids
    text = (data / "u.item").read_bytes().decode("latin-1").splitlines()
    listed = {int(line.split("|")[0]): line.split("|") for line in text}
    seen = 0
    for row, theta in zip(env.problem.item_features, env.instance.parameters, strict=True):
        movie = int(ids[np.flatnonzero((factors.movie_factors == theta).all(axis=1))[0]])
        if movie in listed:
            columns = listed[movie][5:]
            expected = [int(columns[5]), int(columns[8]), int(columns[11]), 1950 + movie % 60]
            np.testing.assert_array_equal(row, expected)
            seen += 1
    assert seen >= 39
    assert env.movie_features.names == (*GENRES, "year")
    assert env.movie_features.num_missing == 1


def test_the_prior_is_fitted_to_the_other_movies_and_predicts_these(data):
    env = made(data, num_actions=40)
    problem = env.problem
    factors = dts_gym.datasets.cached_factors(data, 3)
    past = problem.past_parameters
    assert len(past) == 40
    rows = [int(np.flatnonzero((factors.movie_factors == theta).all(axis=1))[0]) for theta in past]
    z = env.movie_features.values[rows]
    expected = dts_gym.FeaturePrior.fit(past, z).for_actions(problem.item_features)
    for name in ("mixing", "effect_mean", "effect_cov", "action_cov"):
        np.testing.assert_allclose(getattr(problem.prior, name), getattr(expected, name), rtol=1e-12)
    env.reset(seed=0)
    theta = env.instance.parameters
    means, _ = problem.prior.marginals()
    left = np.square(theta - means).sum() / np.square(theta - theta.mean(axis=0)).sum()
    assert left < 0.3  # genres were planted to decide nearly all
    assert not (theta[:, None] == past[None]).all(axis=2).any()


def test_liked_has_the_same_movies_with_scaled_factors(data):
    stars, liked = made(data), made(data, reward="bernoulli")
    np.testing.assert_array_equal(stars.problem.item_features, liked.problem.item_features)
    scale = np.pi / (np.sqrt(3) * stars.problem.reward_model.noise_std)
    np.testing.assert_allclose(liked.problem.past_parameters, scale * stars.problem.past_parameters, rtol=1e-12)
    np.testing.assert_allclose(
        liked.problem.prior.action_cov, scale**2 * stars.problem.prior.action_cov, rtol=1e-6, atol=1e-9
    )


def test_runs_redraw_movies_and_prior_and_features_pay(data):
    result = dts_gym.compare(
        ID, ["dTS", "LinTS"], seeds=8, num_rounds=30, env_settings={"data": data, **SMALL}, redraw_prior=True
    )
    gain = result.regret("LinTS")[:, -1] - result.regret("dTS")[:, -1]
    assert gain.mean() > 4.5 * gain.std(ddof=1) / np.sqrt(8)
    envs = gym.make_vec(ID, num_envs=3, data=data, prior_seeds=[4, 5, 6], **SMALL)
    for problem, seed in zip(envs.problems, (4, 5, 6), strict=True):
        np.testing.assert_array_equal(problem.item_features, made(data, prior_seed=seed).problem.item_features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"movie_features": "yes"}, "movie_features must be True or False, got 'yes'"),
        ({"prior": "diffusion"}, "prior must be left out with movie_features, got 'diffusion'"),
        ({"prior": random_linear_prior(3, 2)}, "prior must be left out with movie_features, got LinearDiffusionPrior"),
        ({"depth": 2}, "depth must be left out with movie_features, got 2"),
        ({"branch": 1}, "branch must be left out with movie_features, got 1"),
        ({"prior_seed": -1}, "prior_seed must be an integer >= 0, got -1"),
        ({"movie_features": False, "prior_seed": 3}, "prior_seed must be left out without movie_features, got 3"),
    ],
)
def test_bad_settings_are_refused(data, settings, message):
    with pytest.raises(ValueError, match=message):
        made(data, **settings)


def test_without_the_file_of_movies_the_error_says_so(data, tmp_path):
    (tmp_path / "u.data").write_bytes((data / "u.data").read_bytes())
    with pytest.raises(ValueError, match=r"movie_features needs u\.item beside u\.data"):
        made(tmp_path)
    assert made(tmp_path, movie_features=False).movie_features is None
