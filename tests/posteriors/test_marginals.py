"""The marginals of every posterior against its moments and its draws; reading them changes nothing."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from dts_gym import make_agent
from dts_gym.posteriors.marginals import NormalLaws

D, S = "DiffusionBandit-v0", "SharedDiffusionBandit-v0"
CASES = [
    (D, {}, "dTS", {}),
    (D, {}, "dTS", {"branch": 1, "exploration": 0.4}),
    (D, {}, "LinTS", {"exploration": 0.5, "prior_mean": [1.0, -2.0, 0.5]}),
    (D, {}, "JointTS", {"exploration": 0.5}),
    (D, {}, "MixTS", {"exploration": 0.5, "num_components": 2}),
    (D, {"reward": "bernoulli"}, "GLM-TS", {}),
    (D, {"reward": "bernoulli"}, "dUCB", {}),
    (D, {"link": "mlp"}, "dTS", {}),
    (D, {"link": "mlp"}, "dTS", {"branch": 1}),
    (D, {"link": "mlp"}, "dUCB", {"branch": 2, "exploration": 0.6}),
    (S, {}, "LinTS", {"exploration": 0.5}),
    (S, {"link": "mlp"}, "dTS", {}),
]


def taught(env_id, env_settings, agent_id, settings, rounds=15):
    env = gym.make(env_id, num_actions=6, dim=3, **env_settings)
    return teach(make_agent(agent_id, env, seed=0, **settings), env, rounds)


def teach(agent, env, rounds):
    """Actions 4 and 5 stay unplayed."""
    rng = np.random.default_rng(1)
    context, _ = env.reset(seed=3)
    for _ in range(rounds):
        action = int(rng.integers(4))
        following, reward, *_ = env.step(action)
        agent.update(context, action, reward)
        context = following
    return agent, context


def of_moments(agent, context):
    """From the dense moments of all parameters."""
    mean, cov = agent.moments()
    x = context.astype(np.float64)
    if mean.ndim == 1:
        return x @ mean, np.sqrt(np.einsum("kd,de,ke->k", x, cov, x))
    K, d = mean.shape
    return mean @ x, np.sqrt(np.einsum("d,kdke,e->k", x, cov.reshape(K, d, K, d), x))


@pytest.mark.parametrize(("env_id", "env_settings", "agent_id", "settings"), CASES)
def test_marginals_are_those_of_the_dense_moments(env_id, env_settings, agent_id, settings):
    agent, context = taught(env_id, env_settings, agent_id, settings)
    for got, expected in zip(agent.marginals(context), of_moments(agent, context), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("env_id", "env_settings", "agent_id", "settings"), [CASES[0], CASES[2], CASES[5], CASES[10]])
def test_draws_have_these_marginals(env_id, env_settings, agent_id, settings):
    agent, context = taught(env_id, env_settings, agent_id, settings)
    n = 4000
    drawn = agent.sample_parameters(n)
    values = drawn @ context if drawn.ndim == 3 else drawn @ context.T  # (n, K)
    mean, std = agent.marginals(context)
    assert (np.abs(values.mean(axis=0) - mean) < 4.5 * std / np.sqrt(n)).all()
    assert (np.abs(values.var(axis=0) / std**2 - 1) < 4.5 * np.sqrt(2 / n)).all()


@pytest.mark.parametrize(("env_id", "env_settings", "agent_id", "settings"), [CASES[0], CASES[4], CASES[7], CASES[9]])
def test_looking_changes_nothing(env_id, env_settings, agent_id, settings):
    one, context = taught(env_id, env_settings, agent_id, settings)
    other, _ = taught(env_id, env_settings, agent_id, settings)
    for t in range(8):
        one.marginals(context)
        actions = one.act(context), other.act(context)
        assert actions[0] == actions[1]
        for agent in (one, other):
            agent.update(context, actions[0], float(t % 2))


def test_contexts_that_do_not_fit_are_refused():
    agent, context = taught(*CASES[0])
    for bad in (context[:2], context[None, None], np.full(3, np.nan)):
        with pytest.raises(ValueError, match="context must"):
            agent.marginals(bad)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("scale", [-3.0, -0.5, 0.0, 1.0, 3.5, 9.0, 30.0])
def test_an_upper_bound_is_exceeded_as_rarely_as_that_many_deviations(count, scale):
    """Against a root of the logarithm of the tail, found by another method."""
    rng = np.random.default_rng(count)
    weights = rng.dirichlet(np.full(count, 0.3), size=15).T
    means, stds = (
        rng.standard_normal((count, 15)) * np.tile([0.01, 1.0, 100.0], 5),
        rng.gamma(0.5, size=(count, 15)) + 1e-6,
    )
    found = NormalLaws(weights, means, stds**2).upper_bound(scale)
    side = 1.0 if scale >= 0 else -1.0
    for w, m, s, got in zip(weights.T, means.T, stds.T, found, strict=True):

        def excess(point, w=w, m=m, s=s):
            with np.errstate(divide="ignore"):
                tails = np.log(w) + norm.logsf(side * (point - m) / s)
            return np.logaddexp.reduce(tails) - norm.logsf(abs(scale))

        ends = (m + scale * s).min() - 1e-9, (m + scale * s).max() + 1e-9
        assert got == pytest.approx(brentq(excess, *ends, xtol=1e-13), rel=1e-9, abs=1e-9)


def test_upper_bounds_of_points_and_of_the_farthest_tail():
    points = NormalLaws(np.array([[0.5], [0.5]]), np.array([[0.0], [1.0]]), np.zeros((2, 1)))
    assert points.upper_bound(1.0) == pytest.approx(1.0)
    assert points.upper_bound(-1.0) == pytest.approx(0.0, abs=1e-12)
    wide = NormalLaws(np.array([[0.5], [0.5]]), np.array([[0.0], [1.0]]), np.array([[1.0], [4.0]]))
    assert wide.upper_bound(40.0) == 81.0
