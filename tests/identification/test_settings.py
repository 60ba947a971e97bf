"""The problems where rules are tried: the paper's, ratings, and `DiffusionBandit-v0` with one context and with many."""

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym.datasets import cached_factors
from dts_gym.identification import pose
from dts_gym.identification.scores import drawn_instance, score_prior
from truth import rated_movies

NAMED = ["mab", "linear", "hierarchical"]


def by_definition(name, posed):
    """The prior moments of the scores as the paper states them."""
    if name == "mab":
        return np.linspace(0, 1, 10), np.diag(np.linspace(0.1, 0.5, 10) ** 2)
    if name == "linear":
        return np.zeros(30), posed.context @ posed.context.T
    weights = posed.problem.prior.mixing
    own = np.diag(np.linspace(0.1, 0.5, 60) ** 2)
    return weights @ np.linspace(0, 2, 10), weights @ np.diag(np.linspace(0.01, 0.25, 10)) @ weights.T + own


@pytest.mark.parametrize("name", NAMED)
def test_the_papers_problems_are_their_definitions(name):
    """Moments exactly, and those of 1000 instances by z values below 5 (some 2300 of them: false alarm 2e-3)."""
    posed = pose(name, {}, 3)
    mean, cov = by_definition(name, posed)
    prior = score_prior(posed.problem, posed.context)
    np.testing.assert_allclose(prior.mean, mean, atol=1e-12)
    np.testing.assert_allclose(prior.cov, cov, atol=1e-12)
    n = 1000
    rng = np.random.default_rng(0)
    scores = [drawn_instance(posed.problem, rng).linear_predictors(posed.context).ravel() for _ in range(n)]
    off = np.array(scores) - mean
    assert (np.abs(off.mean(axis=0)) < 5 * np.sqrt(np.diag(cov) / n)).all()
    error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / n)
    assert (np.abs(off.T @ off / n - cov) < 5 * error).all()


@pytest.mark.parametrize("name", NAMED)
def test_a_large_budget_finds_the_best_action_of_the_papers_problems(name):
    result = dts_gym.identify(name, "TopTwoTS", budget=3000, seed=1)
    assert result.counts.sum() == 3000
    assert result.probability_best.sum() == pytest.approx(1)
    assert result.probability_best[result.recommendation] > 0.8
    assert result.is_best
    assert result.simple_regret == 0


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(rated_movies(tmp_path_factory.mktemp("ratings")))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path_factory.getbasetemp() / "cache"))


def test_ratings_are_those_of_movies_that_the_prior_has_not_seen(data):
    sizes = {"data": data, "num_actions": 12, "rank": 3, "min_ratings": 5}
    posed = pose("ratings", sizes, 4)
    factors = cached_factors(data, 3)
    shown = np.flatnonzero((factors.movie_factors[:, None] == posed.instance.parameters).all(axis=2).any(axis=1))
    fitted = np.flatnonzero((factors.movie_factors[:, None] == posed.problem.past_parameters).all(axis=2).any(axis=1))
    assert (len(shown), len(fitted)) == (12, 40)
    assert not set(shown) & set(fitted)
    assert (factors.user_factors.astype(np.float32) == posed.context.astype(np.float32)).all(axis=1).any()
    prior = score_prior(posed.problem, posed.context)
    means, covs = posed.problem.prior.marginals()
    np.testing.assert_allclose(prior.mean, means @ posed.context, atol=1e-9)
    np.testing.assert_allclose(np.diag(prior.cov), posed.context @ covs @ posed.context, atol=1e-9)
    other = pose("ratings", sizes, 5)
    assert not np.array_equal(other.context, posed.context)
    assert not np.array_equal(other.instance.parameters, posed.instance.parameters)


def test_rules_are_judged_by_the_true_ratings_and_features_help(data):
    sizes = {"data": data, "num_actions": 12, "rank": 3, "min_ratings": 5}
    result = dts_gym.identify("ratings", "TS", budget=2000, seed=4, env_settings=sizes)
    posed = pose("ratings", sizes, 4)
    scores = posed.instance.parameters @ posed.context
    assert result.is_best == (result.recommendation == scores.argmax())
    assert result.simple_regret == pytest.approx(scores.max() - scores[result.recommendation])
    assert result.simple_regret < 0.1
    with pytest.raises(ValueError, match="env_settings must be left out but for"):
        dts_gym.identify(posed.problem, budget=5, context=posed.context, env_settings=sizes)


CHAINS = {"linear": {}, "perceptrons": {"link": "mlp", "branch": 1}, "clicks": {"reward": "bernoulli"}}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_diffusion_bandit_with_one_context_has_an_action_recommended(chain):
    env = gym.make("DiffusionBandit-v0", num_actions=4, dim=2, noise_std=0.3, **CHAINS[chain])
    context = np.array([0.9, -0.7])
    rule, budget = ("TS", 40) if chain == "perceptrons" else ("TopTwoTS", 150)
    result = dts_gym.identify(env, rule, budget=budget, seed=2, context=context)
    env.reset(seed=2)
    scores = env.unwrapped.instance.parameters @ context
    assert result.is_best == (result.recommendation == scores.argmax())
    expected = env.unwrapped.problem.reward_model.mean(scores)
    assert result.simple_regret == pytest.approx(expected.max() - expected[result.recommendation])
    assert result.simple_regret < 0.15
    assert result.probability_best[result.recommendation] == result.probability_best.max()


def test_a_diffusion_bandit_with_contexts_has_a_policy_recommended():
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=3, noise_std=0.5)
    short, long = ([dts_gym.identify(env, "TS", budget=n, seed=s) for s in range(20)] for n in (4, 150))
    gain = np.array([one.simple_regret - other.simple_regret for one, other in zip(short, long, strict=True)])
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(20)
    policy = long[-1].recommendation
    contexts = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    chosen = policy(contexts)
    assert policy(contexts[7]) == chosen[7]
    env.reset(seed=19)
    means = contexts @ env.unwrapped.instance.parameters.T
    gaps = means.max(axis=1) - means[np.arange(2000), chosen]
    error = gaps.std() * np.sqrt(1 / 2000 + 1 / 1000)  # the judged contexts are 1000 others
    assert abs(gaps.mean() - long[-1].simple_regret) < 4.5 * error
    with pytest.raises(ValueError, match="context must have shape"):
        policy(np.zeros(4))


@pytest.mark.parametrize("rule", ["SequentialHalving", "SuccessiveRejects", "PI-BAI-Opt", "PI-BAI-G", "PI-BAI-TS"])
def test_rules_that_plan_for_one_context_are_refused_where_contexts_change(rule):
    env = gym.make("DiffusionBandit-v0", num_actions=3, dim=2, horizon=50)
    with pytest.raises(ValueError, match="which plans for one, got contexts that change"):
        dts_gym.identify(env, rule, budget=20)
    with pytest.raises(ValueError, match="budget must be at most the environment's horizon 50, got 51"):
        dts_gym.identify(env, "TS", budget=51)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("bandit", {}, "name must be one of"),
        ("mab", {"arms": 3}, "settings must be arguments of 'mab'"),
        ("mab", {"num_actions": 0}, "num_actions must be"),
        ("ratings", {"num_actions": 3000}, "num_actions must be at most"),
    ],
)
def test_a_problem_that_does_not_exist_is_refused(name, settings, message, data):
    given = {**settings, **({"data": data, "rank": 3, "min_ratings": 5} if name == "ratings" else {})}
    with pytest.raises(ValueError, match=message):
        pose(name, given, 0)
