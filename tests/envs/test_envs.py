"""Every registered environment: Gymnasium's checks, determinism, pickling; and the properties of each."""

import pickle
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dts_gym
from dts_gym import LinearDiffusionPrior, random_linear_prior
from dts_gym.pretraining import prior_cache
from dts_gym.priors.fitting import fit_linear_chain

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ml-latest-small"


@pytest.fixture(scope="session")
def ratings(tmp_path_factory):
    """A small ratings file with three planted factors."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("ratings")
    true = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 60))
    stars = np.clip(3 + 0.5 * true + 0.3 * rng.standard_normal(true.shape), 0.5, 5)
    rows = [f"{u}\t{m}\t{stars[u, m]:.2f}\t0\n" for u in range(80) for m in range(60) if rng.random() < 0.7]
    (folder / "u.data").write_text("".join(rows))
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    """No test reads or writes the user's own cache."""
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(params=["DiffusionBandit-v0", "SharedDiffusionBandit-v0", "SyntheticBandit-v0", "MovieLensBandit-v0"])
def env(request, ratings):
    settings = {"data": ratings, "num_actions": 10, "rank": 3} if "Lens" in request.param else {"num_actions": 10}
    return gym.make(request.param, horizon=20, **settings)


def test_the_ids_are_registered():
    for env_id in dts_gym.env_ids():
        assert env_id in gym.registry
    assert gym.make("dts_gym:DiffusionBandit-v0").unwrapped.problem.num_actions == 100


def test_gymnasiums_checks_pass_without_a_warning(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


def rollout(env, seed, actions):
    steps = [env.reset(seed=seed)]
    steps += [env.step(action) for action in actions]
    return steps


def equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]


def test_the_seed_decides_everything(env):
    actions = np.arange(20) % 10
    first = rollout(env, 3, actions)
    equal(first, rollout(env, 3, actions))
    assert first[-1][3] is True
    assert [step[3] for step in first[1:-1]] == [False] * 19
    other = rollout(env, 4, actions)
    assert (other[0][0] != first[0][0]).any()


def test_a_pickled_environment_continues_alike(env):
    env.reset(seed=1)
    env.step(2)
    copy = pickle.loads(pickle.dumps(env))
    equal([env.step(3) for _ in range(5)], [copy.step(3) for _ in range(5)])


def test_agents_that_play_differently_meet_the_same_contexts_and_noise(env):
    first, second = rollout(env, 5, [0] * 15), rollout(env, 5, [7] * 15)
    for one, other in zip(first[1:], second[1:], strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        noise = [step[1] - step[4]["expected_reward"] for step in (one, other)]
        assert abs(noise[0] - noise[1]) < 1e-12
        assert one[4]["optimal_action"] == other[4]["optimal_action"]


def test_regret_is_what_the_instance_says(env):
    context, info = env.reset(seed=6)
    assert info == {}
    total = 0.0
    for action in range(10):
        parameters, x = env.unwrapped.instance.parameters, context.astype(np.float64)
        expected = x @ parameters if parameters.ndim == 1 else parameters @ x
        context, _, terminated, _, info = env.step(np.array(action))
        assert terminated is False
        total += expected.max() - expected[action]
        assert info["optimal_action"] == expected.argmax()
        assert abs(info["expected_reward"] - expected[action]) < 1e-12
        assert abs(info["regret"] - (expected.max() - expected[action])) < 1e-12
        assert abs(info["cumulative_regret"] - total) < 1e-12


def test_rewards_have_the_noise_of_the_problem():
    env = gym.make("DiffusionBandit-v0", num_actions=3, noise_std=2.0)
    env.reset(seed=0)
    residuals = []
    for _ in range(4000):
        _, reward, _, _, info = env.step(1)
        residuals.append(reward - info["expected_reward"])
    assert abs(np.mean(residuals)) < 4.5 * 2 / np.sqrt(4000)
    assert abs(np.var(residuals) / 4 - 1) < 4.5 * np.sqrt(2 / 4000)


def test_a_pinned_instance_stays_and_others_change(env):
    def parameters(**reset):
        env.reset(**reset)
        return env.unwrapped.instance.parameters.copy()

    base = parameters(seed=0)
    assert (parameters() != base).any()
    assert (parameters(seed=1) != base).any()
    np.testing.assert_array_equal(parameters(seed=0), base)
    pinned = parameters(options={"instance_seed": 3})
    np.testing.assert_array_equal(parameters(seed=8, options={"instance_seed": 3}), pinned)
    assert (parameters(options={"instance_seed": 4}) != pinned).any()
    made = gym.make("DiffusionBandit-v0", instance_seed=3)
    made.reset(seed=0)
    first = made.unwrapped.instance.parameters
    made.reset(seed=1)
    np.testing.assert_array_equal(made.unwrapped.instance.parameters, first)


@pytest.mark.parametrize("env_id", ["DiffusionBandit-v0", "SharedDiffusionBandit-v0", "SyntheticBandit-v0"])
def test_fixed_features_are_one_context_an_episode_and_the_same_parameters(env_id):
    fixed, varied = (gym.make(env_id, num_actions=4, dim=2, horizon=20, fixed_features=on) for on in (True, False))
    assert fixed.unwrapped.problem.fixed_context
    first, second = (fixed.reset(seed=seed)[0] for seed in (0, 1))
    varied.reset(seed=1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(fixed.unwrapped.instance.parameters, varied.unwrapped.instance.parameters)
    for _ in range(5):
        np.testing.assert_array_equal(fixed.step(0)[0], second)
        assert not np.array_equal(varied.step(0)[0], second)


def test_an_agent_and_an_environment_of_one_seed_draw_apart():
    env = gym.make("DiffusionBandit-v0", num_actions=50)
    agent = dts_gym.make_agent("dTS", env, seed=0)
    env.reset(seed=0)
    assert np.abs(np.corrcoef(agent.sample_parameters().ravel(), env.unwrapped.instance.parameters.ravel())[0, 1]) < 0.9
    theta = agent.sample_parameters()
    assert not np.isclose(theta, env.unwrapped.instance.parameters).any()


def test_without_regret_info_the_keys_are_absent_and_the_rewards_the_same():
    settings = {"num_actions": 10, "horizon": 50}
    loud, quiet = (gym.make("DiffusionBandit-v0", regret_info=on, **settings) for on in (True, False))
    first, second = rollout(loud, 0, [1] * 20), rollout(quiet, 0, [1] * 20)
    assert all(step[4] == {} for step in second[1:])
    np.testing.assert_allclose([s[1] for s in first[1:]], [s[1] for s in second[1:]], rtol=1e-12)


@pytest.mark.parametrize("action", [-1, 10, 2.0, "1", None, True, [1]])
def test_bad_actions_are_refused_and_the_round_stands(env, action):
    env = env.unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action must be an integer in 0\.\.9, got"):
        env.step(action)
    twin = rollout(env, 0, [4])
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(action)
    equal([env.step(4)], twin[1:])


def test_steps_outside_an_episode_are_refused(env):
    env = env.unwrapped
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    rollout(env, 0, [0] * 20)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset()
    env.step(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_actions": 0}, "num_actions must be an integer >= 1, got 0"),
        ({"num_actions": 2.5}, "num_actions must be an integer >= 1, got 2.5"),
        ({"dim": 0}, "dim must be an integer >= 1, got 0"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"horizon": 0}, "horizon must be an integer >= 1, got 0"),
        ({"noise_std": 0.0}, "noise_std must be a positive finite number, got 0.0"),
        ({"prior": 3}, "prior must be a dts_gym Prior or a file of one, got 3"),
        ({"prior_seed": -1}, "prior_seed must be an integer >= 0, got -1"),
        ({"branch": 3}, "branch must be an integer in 0..2, got 3"),
        ({"instance_seed": 0.5}, "instance_seed must be an integer >= 0, got 0.5"),
        ({"stds": [1.0, 2.0]}, r"stds must have shape \(3,\), got shape \(2,\)"),
        ({"stds": -1.0}, "stds must not be negative, got -1.0"),
        ({"weight_norm": 0}, "weight_norm must be a positive finite number, got 0"),
        ({"weight_norm": 1.0, "link": "mlp"}, "weight_norm must be left out with link 'mlp', got 1.0"),
        ({"stds": 1.0, "prior": LinearDiffusionPrior([], [np.eye(2)])}, "stds must be left out with a prior"),
        ({"feature_law": "simplex"}, "feature_law must be one of .*, got 'simplex'"),
        ({"num_actions": 10**12}, r"num_actions \* dim must fit memory: 1000000000000 x 5 parameters take 80000.0 GB"),
    ],
)
def test_bad_settings_of_the_diffusion_bandit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gym.make("DiffusionBandit-v0", **settings)


def test_unknown_settings_and_options_are_refused(env):
    with pytest.raises(TypeError, match="num_arms"):
        gym.make("DiffusionBandit-v0", num_arms=3)
    with pytest.raises(ValueError, match=r"options must be among \['instance_seed'\], got \['seed'\]"):
        env.reset(options={"seed": 1})


def test_a_prior_of_ones_own_sets_the_sizes():
    prior = LinearDiffusionPrior([np.eye(3)] * 4, [np.eye(3)] * 5, branch=2)
    env = gym.make("DiffusionBandit-v0", prior=prior, num_actions=7)
    assert env.unwrapped.problem.prior is prior
    assert env.reset(seed=0)[0].shape == (3,)
    assert gym.make("DiffusionBandit-v0", prior=prior, branch=0).unwrapped.problem.prior.branch == 0
    with pytest.raises(ValueError, match="dim must be the given prior's, 3, or left out, got 5"):
        gym.make("DiffusionBandit-v0", prior=prior, dim=5)


def test_the_default_prior_is_the_papers_and_one_a_seed():
    priors = [gym.make("DiffusionBandit-v0", prior_seed=seed).unwrapped.problem.prior for seed in (0, 0, 1)]
    np.testing.assert_array_equal(priors[0].weights, priors[1].weights)
    assert (priors[0].weights[0] != priors[2].weights[0]).any()
    for W, active in zip(priors[0].weights, (5, 2), strict=True):
        assert np.abs(W).max() <= 1
        assert (W[:, active:] == 0).all()
        assert (W[:, :active] != 0).all()


def test_the_setting_of_the_bound():
    # Unit contexts, Sigma_l = sigma_l^2 I, weights of spectral norm 1; the priors are drawn for each seed.
    settings = {"weight_norm": 1.0, "stds": [0.5, 1.0, 2.0], "feature_law": "sphere", "num_actions": 10}
    env = gym.make("DiffusionBandit-v0", dim=4, **settings).unwrapped
    prior = env.problem.prior
    for W, plain in zip(prior.weights, random_linear_prior(4, 2, seed=0).weights, strict=True):
        assert np.linalg.eigvalsh(W.T @ W)[-1] == pytest.approx(1.0, rel=1e-12)
        np.testing.assert_allclose(W * np.abs(plain).max() / np.abs(W).max(), plain, rtol=1e-12)
    np.testing.assert_array_equal(prior.covariances, [std**2 * np.eye(4) for std in settings["stds"]])
    context, _ = env.reset(seed=0)
    contexts = np.array([context, *(env.step(0)[0] for _ in range(2_000))], dtype=np.float64)
    np.testing.assert_allclose(np.linalg.norm(contexts, axis=1), 1.0, atol=2e-7)
    # Uniform on the sphere: mean 0 and covariance I / d; a coordinate's square has variance 2 (d - 1) / (d^2 (d + 2)).
    n, d = contexts.shape
    assert np.abs(contexts.mean(axis=0)).max() < 4.5 * np.sqrt(1 / d / n)
    assert np.abs((contexts**2).mean(axis=0) - 1 / d).max() < 4.5 * np.sqrt(2 * (d - 1) / (d**2 * (d + 2)) / n)
    two = dts_gym.compare(
        "DiffusionBandit-v0", ["dTS", "MarginalLinTS"], seeds=2, num_rounds=5, env_settings=settings, redraw_prior=True
    )
    assert two.regret("dTS").shape == (2, 5)
    # One number for all levels, perceptrons too.
    for link in ("linear", "mlp"):
        covariances = gym.make("DiffusionBandit-v0", link=link, stds=0.1).unwrapped.problem.prior.covariances
        np.testing.assert_array_equal(covariances, [0.1**2 * np.eye(5)] * 3)


def test_movies_are_held_out_and_the_chain_has_the_training_moments(ratings):
    env = gym.make("MovieLensBandit-v0", data=ratings, num_actions=10, rank=3, depth=3, branch=1).unwrapped
    problem = env.problem
    past = problem.past_parameters
    prior = problem.prior
    collapsed = prior.two_level()
    np.testing.assert_allclose(collapsed.mean, past.mean(axis=0), atol=1e-12)
    total = collapsed.shared_cov + collapsed.action_cov
    np.testing.assert_allclose(total, np.cov(past, rowvar=False), atol=1e-12)
    np.testing.assert_allclose(collapsed.action_cov, total / 2, atol=1e-12)
    for seed in range(20):
        env.reset(seed=seed)
        drawn = env.instance.parameters
        assert len(np.unique(drawn, axis=0)) == 10
        assert not (drawn[:, None] == past[None]).all(axis=2).any()
    assert 0.2 < problem.reward_model.noise_std < 0.4  # 0.3 was planted
    users = np.array([env.reset(seed=seed)[0] for seed in range(2000)])
    assert np.abs(np.cov(users, rowvar=False) - np.eye(3)).max() < 0.3


def test_the_parts_of_movielens_share_no_movie_and_make_up_the_held_out_ones(ratings):
    parts = {
        part: gym.make("MovieLensBandit-v0", data=ratings, num_actions=10, rank=3, part=part).unwrapped
        for part in ("all", "tuning", "report")
    }
    movies = {part: {tuple(row) for row in env._held_out} for part, env in parts.items()}
    assert movies["tuning"] | movies["report"] == movies["all"]
    assert not movies["tuning"] & movies["report"]
    past = {tuple(row) for row in parts["all"].problem.past_parameters}
    assert not past & movies["all"]
    for env in parts.values():
        np.testing.assert_array_equal(env.problem.past_parameters, parts["all"].problem.past_parameters)


def test_liked_is_a_rating_above_the_mean_under_logistic_noise(ratings):
    stars, liked = (
        gym.make("MovieLensBandit-v0", data=ratings, num_actions=10, rank=3, reward=reward).unwrapped
        for reward in ("gaussian", "bernoulli")
    )
    (x, _), (same, _) = stars.reset(seed=3), liked.reset(seed=3)
    np.testing.assert_array_equal(x, same)
    *_, info = stars.step(4)
    *_, info_liked = liked.step(4)
    # Truth: Pr(x'theta + noise > 0), noise logistic of the ratings' standard deviation, by quadrature of its density.
    std = stars.problem.reward_model.noise_std
    noise = np.linspace(-40 * std, 40 * std, 200_001)
    scale = std * np.sqrt(3) / np.pi
    density = 1 / (4 * scale * np.cosh(noise / (2 * scale)) ** 2)
    assert np.trapezoid(noise**2 * density, noise) == pytest.approx(std**2, rel=1e-6)
    above = np.trapezoid(np.where(info["expected_reward"] + noise > 0, density, 0.0), noise)
    assert info_liked["expected_reward"] == pytest.approx(above, abs=1e-3)
    assert info_liked["optimal_action"] == info["optimal_action"]


def test_movielens_takes_a_prior_of_ones_own_and_chooses_a_branch(ratings):
    mine = random_linear_prior(3, 4, branch=2)
    settings = {"data": ratings, "num_actions": 10, "rank": 3}
    assert gym.make("MovieLensBandit-v0", prior=mine, **settings).unwrapped.problem.prior is mine
    assert gym.make("MovieLensBandit-v0", prior=mine, branch=1, **settings).unwrapped.problem.prior.branch == 1
    chosen = gym.make("MovieLensBandit-v0", branch="auto", depth=3, **settings).unwrapped.problem.prior
    assert chosen.branch > 0  # six movies kept apart tell no more than that
    with pytest.raises(ValueError, match="branch must be a number with so few vectors: 'auto' takes 9 of dimension 3"):
        gym.make("MovieLensBandit-v0", branch="auto", train_fraction=0.1, **settings)


@pytest.mark.parametrize("env_id", ["MovieLensBandit-v0", "SyntheticBandit-v0"])
def test_a_diffusion_prior_is_learned_on_first_use_and_then_read(ratings, env_id, monkeypatch):
    """The training itself, which takes torch, has its own tests; here a stand-in for it, with the cache behind it."""
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    calls = []

    def fit(theta, depth, **settings):
        calls.append((len(theta), depth, settings))
        return random_linear_prior(theta.shape[1], depth, branch=depth)

    monkeypatch.setattr(prior_cache, "fit", fit)
    settings = {"data": ratings, "rank": 3} if "Lens" in env_id else {"num_past": 50}
    first, second = (gym.make(env_id, num_actions=10, prior="diffusion", **settings).unwrapped for _ in range(2))
    assert len(calls) == 1
    # What is asked of the training is part of the file's name: asked otherwise, kept priors would be trained again.
    network = {"branch": "auto", "hidden": 32, "blocks": 1} if "Lens" in env_id else {}
    assert calls[0] == (len(first.problem.past_parameters), 40, network)
    assert second.problem.prior.depth == 40
    assert second.problem.prior.branch == 40
    gym.make(env_id, num_actions=10, prior="diffusion", depth=3, **settings)
    assert calls[1][1] == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "constant"}, "schedule must be left out but with the prior 'diffusion', got 'constant'"),
        ({"prior": random_linear_prior(3, 2), "depth": 2}, "depth and branch 'auto' go with a prior to learn"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
    ],
)
def test_what_a_shapes_prior_does_not_take_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gym.make("SyntheticBandit-v0", num_past=50, **settings)


def test_a_fitted_chain_of_one_dimension_works():
    prior = fit_linear_chain(np.array([[1.0], [2.0], [6.0]]), 2, 2)
    np.testing.assert_allclose(prior.two_level().action_cov, [[7.0]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_actions": 31}, "num_actions must be at most 30, the movies of"),
        ({"rank": 0}, "rank must be an integer"),
        ({"depth": 0}, "depth must be an integer >= 1, got 0"),
        ({"branch": 4}, "branch must be an integer in 0..2, got 4"),
        ({"train_fraction": 1.0}, "train_fraction must be a number between 0 and 1, got 1.0"),
        ({"min_ratings": 10**6}, "min_ratings must leave 4 movies or more, got 1000000, which leaves 0"),
        ({"noise_std": -1}, "noise_std must be a positive finite number, got -1"),
        ({"data": "ml-3m"}, "data must be a path"),
        ({"part": "rest"}, r"part must be one of \('all', 'tuning', 'report'\), got 'rest'"),
        ({"part": "tuning", "num_actions": 20}, "that the prior is not fitted to in the part 'tuning', got 20"),
        ({"reward": "poisson"}, r"reward must be one of \('gaussian', 'bernoulli'\), got 'poisson'"),
        ({"prior": 3}, "prior must be a dts_gym Prior or a file of one, got 3"),
        ({"prior": random_linear_prior(3, 2), "branch": "auto"}, "depth and branch 'auto' go with a prior to learn"),
        ({"prior": random_linear_prior(3, 2), "depth": 2}, "depth and branch 'auto' go with a prior to learn"),
    ],
)
def test_bad_settings_of_movielens_are_refused(ratings, settings, message):
    with pytest.raises(ValueError, match=message):
        gym.make("MovieLensBandit-v0", **{"data": ratings, "num_actions": 10, "rank": 3, **settings})


def test_real_ratings_make_a_bandit_that_agents_learn():
    if not SHARED.exists():
        pytest.skip("this machine does not have the MovieLens ratings for development")
    env = gym.make("MovieLensBandit-v0", data=SHARED, horizon=1000)
    regrets = {}
    for agent_id in ("LinTS", "Random"):
        agent = dts_gym.make_agent(agent_id, env, seed=0, **({"exploration": 0.2} if agent_id == "LinTS" else {}))
        regrets[agent_id] = dts_gym.run(env, agent, num_rounds=1000, seed=0).regret[-1]
    assert regrets["LinTS"] < 0.7 * regrets["Random"]
