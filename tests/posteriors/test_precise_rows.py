"""Posteriors of rewards that outweigh the prior by up to 1e54, against rational numbers computed from scratch.

A case must be right to a millionth of a deviation where inputs that are changed by 1e-16 of themselves move it by less
than 1e-9; elsewhere it is right too, or refused. A mean may be off by the rounding of its float64 number besides.
"""

import itertools
from fractions import Fraction

import numpy as np
import pytest

import dts_gym
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.twofold import EPS, Twofold
from truth import random_cov

rational = np.vectorize(Fraction, otypes=[object])
ULPS = 2 * 2.0**-52


def solved(matrix, right):
    """Gauss-Jordan elimination in rational numbers."""
    n = len(matrix)
    rows = np.concatenate([matrix, right], axis=1)
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i, k] != 0)
        rows[[k, pivot]] = rows[[pivot, k]]
        rows[k] = rows[k] / rows[k, k]
        for i in range(n):
            if i != k and rows[i, k] != 0:
                rows[i] = rows[i] - rows[i, k] * rows[k]
    return rows[:, n:]


class Exact:
    """Posterior of ``theta_a = mean + m + delta_a`` in rational numbers; ``changed`` changes inputs by 1e-16."""

    def __init__(self, prior, num_actions, data, noise_std, changed=None):
        contexts, actions, rewards = (rational(data[0]), data[1], rational(data[2]))
        if changed is not None:
            contexts = contexts * rational(1 + 0 * data[0]) + contexts * rational(
                1e-16 * changed.standard_normal(data[0].shape)
            )
            rewards = rewards + rewards * rational(1e-16 * changed.standard_normal(rewards.shape))
        K, d = num_actions, len(prior.mean)
        self.center, self.is_shared, self.dim = rational(prior.mean), bool(prior.shared_cov.any()), d
        self.first = d if self.is_shared else 0
        n = self.first + K * d
        precision, natural = rational(np.zeros((n, n))), rational(np.zeros(n))
        identity = rational(np.eye(d))
        if self.is_shared:
            precision[:d, :d] = solved(rational(prior.shared_cov), identity)
        own = solved(rational(prior.action_cov), identity)
        weight = 1 / Fraction(noise_std) ** 2
        for a in range(K):
            block = slice(self.first + a * d, self.first + (a + 1) * d)
            precision[block, block] = own
            X = contexts[actions == a]
            if not len(X):
                continue
            G, h = weight * X.T.dot(X), weight * X.T.dot(rewards[actions == a] - X.dot(self.center))
            blocks = [block, slice(0, d)] if self.is_shared else [block]
            for one, other in itertools.product(blocks, blocks):
                precision[one, other] = precision[one, other] + G
            for one in blocks:
                natural[one] = natural[one] + h
        found = solved(precision, np.column_stack([rational(np.eye(n)), natural]))
        self.cov, self.mean = found[:, :-1], found[:, -1]

    def score(self, context, action):
        """Mean, a rational number, and deviation of ``x' theta_a``."""
        x = rational(context)
        q = rational(np.zeros(len(self.mean)))
        q[self.first + action * self.dim : self.first + (action + 1) * self.dim] = x
        if self.is_shared:
            q[: self.dim] = x
        return q.dot(self.mean) + x.dot(self.center), float(q.dot(self.cov).dot(q)) ** 0.5


def contexts_of(design, rng, n, d, scale):
    if design == "gaussian":
        return scale * rng.standard_normal((n, d))
    if design == "collinear":
        return scale * rng.standard_normal((n, 1)) * rng.standard_normal(d)
    return scale * np.eye(d)[rng.integers(d - 1, size=n)]


def errors(make, design, scale, variance, noise_std, n, *, shared, d=3, in_batch=False, mixed=True):
    """For every query: whether it must be right, and its error in deviations, None where it is refused."""
    rng = np.random.default_rng([n, d, int(mixed)])
    covs = [random_cov(rng, d) if mixed else np.eye(d) for _ in range(2)]
    prior = TwoLevelPrior(variance**0.5 * rng.standard_normal(d), shared * variance * covs[0], variance * covs[1])
    K = 2
    X, actions = contexts_of(design, rng, n, d, scale), rng.integers(K - 1, size=n)
    theta = prior.mean + variance**0.5 * rng.standard_normal(d)
    y = X @ theta + noise_std * rng.standard_normal(n)
    posterior = make(prior, K, noise_std)
    if in_batch:
        posterior.update_all(X, actions, y)
    else:
        for x, a, reward in zip(X, actions.tolist(), y.tolist(), strict=True):
            posterior.update(x, a, reward)
    truth, near = (Exact(prior, K, (X, actions, y), noise_std, changed) for changed in (None, rng))
    for query in (X[0], X[-1], scale * rng.standard_normal(d), scale * np.eye(d)[0]):
        right = [truth.score(query, a) for a in range(K)]
        moved = [near.score(query, a) for a in range(K)]
        shifts = (max(abs(m - t) / s, abs(u / s - 1)) for (t, s), (m, u) in zip(right, moved, strict=True))
        must = max(shifts) < 1e-9
        try:
            laws = posterior.laws(query[None], 1.0)
        except ValueError as refusal:
            assert "rewards outweigh the prior" in str(refusal)  # noqa: PT017
            yield must, None, None
            continue
        means, variances = (laws.of_all(part)[0] for part in (lambda one: one.mean(), lambda one: one.variance()))
        for (mean, std), got, got_variance in zip(right, means.tolist(), variances.tolist(), strict=True):
            off = max(0.0, float(abs(Fraction(got) - mean)) - ULPS * abs(float(mean)))
            yield must, off / std, abs(got_variance**0.5 / std - 1)


def two_level(dtype):
    return lambda prior, K, noise_std: TwoLevelPosterior(prior, K, noise_std, dtype=dtype)


def hold(found, mean_bound=1e-6, std_bound=1e-6):
    for must, off, std_off in found:
        assert off is not None or not must
        if off is not None:
            assert off < mean_bound
            assert std_off < std_bound


FEW = [(1.0, 1.0, 1e-6), (1e6, 1.0, 1.0), (1e12, 1e12, 1e-9), (1e12, 1e-12, 1.0), (1e6, 1e12, 1e3), (1e3, 1.0, 1e-2)]
ALL = list(itertools.product((1.0, 1e4, 1e8, 1e12), (1e-12, 1.0, 1e12), (1e-9, 1.0, 1e9)))


@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("design", ["gaussian", "collinear", "one-hot"])
def test_narrow_posteriors_are_right_or_refused(design, in_batch, shared):
    for scale, variance, noise_std in FEW:
        hold(errors(two_level("float64"), design, scale, variance, noise_std, 12, shared=shared, in_batch=in_batch))
        found = errors(two_level("float32"), design, scale, variance, noise_std, 12, shared=shared, in_batch=in_batch)
        hold(found, 1e-3, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shared", [0.0, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("design", ["gaussian", "collinear", "one-hot"])
def test_the_whole_sweep_is_right_or_refused(design, in_batch, shared, dtype):
    bound = 1e-6 if dtype == "float64" else 1e-3
    sizes = [(10, False), (10, True), (100, True)]
    for (scale, variance, noise_std), (n, mixed) in itertools.product(ALL, sizes):
        found = errors(
            two_level(dtype), design, scale, variance, noise_std, n, shared=shared, in_batch=in_batch, mixed=mixed
        )
        hold(found, bound, bound)


@pytest.mark.slow
@pytest.mark.parametrize("design", ["gaussian", "collinear", "one-hot"])
@pytest.mark.parametrize(("scale", "noise_std"), [(1.0, 1.0), (1e5, 1.0), (1.0, 1e-9)])
def test_a_hundred_thousand_rewards_of_one_action(design, scale, noise_std):
    hold(errors(two_level("float64"), design, scale, 1.0, noise_std, 100_000, shared=1.0, d=2, in_batch=True))


@pytest.mark.parametrize("design", ["gaussian", "collinear", "one-hot"])
def test_the_dense_posterior_is_right_or_refused_too(design):
    def make(prior, K, noise_std):
        chain = dts_gym.LinearDiffusionPrior(
            [np.eye(len(prior.mean))], [prior.action_cov, prior.shared_cov], [prior.mean], branch=0
        )
        return JointPosterior(chain, K, noise_std)

    for scale, variance, noise_std in FEW:
        hold(errors(make, design, scale, variance, noise_std, 12, shared=1.0))


def test_the_shared_part_alone_is_right_one_by_one():
    """Actions without a part of their own: all that is learned is shared, at 1e12 times the prior."""
    rng = np.random.default_rng(3)
    d = 3
    prior = TwoLevelPrior(np.zeros(d), random_cov(rng, d), np.zeros((d, d)))
    X = rng.standard_normal((60, 1)) * rng.standard_normal(d) + 1e-7 * rng.standard_normal((60, d))
    y = X @ rng.standard_normal(d) + 1e-5 * rng.standard_normal(60)
    looped, batched = TwoLevelPosterior(prior, 2, 1e-5), TwoLevelPosterior(prior, 2, 1e-5)
    for x, reward in zip(X, y.tolist(), strict=True):
        looped.update(x, 0, reward)
    batched.update_all(X, np.zeros(60, dtype=np.int64), y)
    truth = Exact(
        prior._replace(action_cov=prior.shared_cov, shared_cov=prior.action_cov), 1, (X, np.zeros(60), y), 1e-5
    )
    for posterior, query in itertools.product((looped, batched), (X[0], rng.standard_normal(d))):
        laws = posterior.laws(query[None])
        mean, std = truth.score(query, 0)
        for law in laws[2:]:  # all actions have the same parameters
            np.testing.assert_allclose(np.sqrt(law.variance()), std, rtol=1e-6)
            np.testing.assert_allclose(law.mean(), float(mean), atol=1e-6 * std, rtol=4e-16)


def problem(K, d, noise_std=1.0, features="disjoint"):
    return dts_gym.BanditProblem(K, d, dts_gym.random_linear_prior(d, 1), dts_gym.GaussianReward(noise_std), features)


LINEAR_AGENTS = ["LinTS", "LinUCB", "GLM-TS", "UCB-GLM", "TunedTS", "MixTS"]
AGENTS = [*LINEAR_AGENTS, "dTS", "dUCB", "HierTS", "MarginalLinTS", "JointTS"]
COLUMN = np.random.default_rng(0).uniform(size=500)
FAR = np.column_stack([1.7e9 + 1e5 * COLUMN, np.ones(500)])
REWARDS = 0.7 + np.random.default_rng(1).standard_normal(500)


@pytest.mark.parametrize("agent_id", AGENTS)
def test_far_contexts_and_an_intercept(agent_id):
    """Contexts [1.7e9 + 1e5 U, 1] and 500 rewards of mean 0.7."""
    n = 500 if agent_id == "LinTS" else 60
    agent = dts_gym.make_agent(agent_id, problem(2, 2), seed=0)
    agent.update(FAR[:n], np.zeros(n, dtype=int), REWARDS[:n])
    if agent_id == "JointTS":
        # The prior hardly counts: any of the same size gives the posterior.
        prior = TwoLevelPrior(np.zeros(2), np.zeros((2, 2)), np.diag(np.diag(agent._posterior._marginal)))
    elif agent_id == "MixTS":
        mean, cov = agent.mixture.moments()
        prior = TwoLevelPrior(mean, np.zeros((2, 2)), cov)
    else:
        posterior = agent._posterior
        prior = TwoLevelPrior(posterior.center, posterior._shared_cov, posterior.table.precise._action_cov)
    truth = Exact(prior, 1, (FAR[:n], np.zeros(n), REWARDS[:n]), 1.0)
    scale = agent.exploration_scale
    for x in FAR[:3]:
        mean, std = truth.score(x, 0)
        got_mean, got_std = (part[0] for part in agent.marginals(x))
        within = 1e-6 if agent_id not in ("JointTS", "MixTS") else 1e-3
        assert abs(got_std / (scale * std) - 1) < within
        assert abs(got_mean - float(mean)) < within * std
    assert agent.act(FAR[0]) in (0, 1)
    assert agent.act(FAR[:4]).shape == (4,)


@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "dTS", "dUCB", "TunedTS", "MixTS", "MixUCB"])
def test_one_parameter_that_all_actions_share(agent_id):
    agent = dts_gym.make_agent(agent_id, problem(3, 2, features="shared"), seed=0)
    X, y = FAR[:60], REWARDS[:60]
    agent.update(np.stack([X, X[:, ::-1], 2 * X], axis=1), np.zeros(60, dtype=int), y)
    truth = Exact(TwoLevelPrior(np.zeros(2), np.zeros((2, 2)), np.eye(2)), 1, (X, np.zeros(60), y), 1.0)
    features = FAR[:3]
    mean, std = agent.marginals(features)
    for k in range(3):
        right, right_std = truth.score(features[k], 0)
        assert abs(mean[k] - float(right)) < 1e-4 * right_std  # priors differ, and hardly count
        assert abs(std[k] / (agent.exploration_scale * right_std) - 1) < 1e-4
    draws = agent._posterior._draws(features, np.random.default_rng(0), 1.0, 4000)
    off = (draws - mean) / (std / agent.exploration_scale)
    assert np.abs(off.mean(axis=0)).max() < 4.5 / np.sqrt(4000)
    assert np.abs(off.std(axis=0) - 1).max() < 4.5 / np.sqrt(8000)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("agent_id", ["LinTS", "dTS"])
def test_two_one_hot_groups_in_both_precisions(agent_id, dtype):
    """Precise rewards of two of four correlated columns, where float32 gave widths of 0."""
    d = 4
    root = np.random.default_rng(5).standard_normal((d, d))
    settings = {"prior_cov": root @ root.T} if agent_id == "LinTS" else {}
    agent = dts_gym.make_agent(agent_id, problem(2, d, 1e-3), seed=0, dtype=dtype, **settings)
    rng = np.random.default_rng(1)
    X, actions = np.eye(d)[rng.integers(2, size=300)], rng.integers(2, size=300)
    y = 0.3 * X[:, 0] + 0.1 * actions + 1e-3 * rng.standard_normal(300)
    for scale in (1.0, 1000.0):
        agent.reset(0)
        agent.update(scale * X, actions, y)
        posterior = agent._posterior
        prior = TwoLevelPrior(posterior.center, posterior._shared_cov, posterior.table.precise._action_cov)
        truth = Exact(prior, 2, (scale * X, actions, y), 1e-3)
        for x in (scale * np.eye(d)[0], scale * np.array([1.0, 1.0, 0.0, 0.0])):
            mean, std = agent.marginals(x)
            for a in range(2):
                right, right_std = truth.score(x, a)
                assert abs(std[a] / right_std - 1) < (1e-6 if dtype == "float64" else 1e-3)
                assert abs(mean[a] - float(right)) < (1e-6 if dtype == "float64" else 1e-3) * right_std


def test_draws_have_the_scores_moments():
    rng = np.random.default_rng(2)
    prior = TwoLevelPrior(np.ones(2), np.eye(2), np.eye(2))
    posterior = TwoLevelPosterior(prior, 3, 1.0)
    posterior.update_all(FAR[:60], np.arange(60) % 2, REWARDS[:60])
    scores = posterior._scores(FAR[0])
    draws = posterior.reward_draws(FAR[0], rng, 1.0, 5000, dts_gym.GaussianReward())
    off = (draws.played - scores.mean[:-1]) / scores.spread()[:-1]
    assert np.abs(off.mean(axis=0)).max() < 4.5 / np.sqrt(5000)
    assert np.abs(off.std(axis=0) - 1).max() < 4.5 / np.sqrt(10_000)
    theta = posterior.sample_parameters(rng, 1.0, 4000)
    mean, cov = posterior.moments()
    off = (theta - mean) / np.sqrt(np.diag(cov)).reshape(3, 2)
    assert np.abs(off.mean(axis=0)).max() < 4.5 / np.sqrt(4000)
    assert np.abs(off.std(axis=0) - 1).max() < 4.5 / np.sqrt(8000)


@pytest.mark.parametrize("agent_id", [*AGENTS, "IDS"])
def test_saved_agents_continue_bit_for_bit(agent_id, tmp_path):
    agent = dts_gym.make_agent(agent_id, problem(3, 2), seed=0)
    agent.update(FAR[:40], np.arange(40) % 2, REWARDS[:40])
    agent.save(tmp_path / "agent.npz")
    loaded = type(agent).load(tmp_path / "agent.npz")
    for one in (agent, loaded):
        one.update(FAR[40:50], np.arange(10) % 3, REWARDS[40:50])
    assert agent._posterior.is_careful
    for name, array in agent._state().items():
        np.testing.assert_array_equal(array, loaded._state()[name])
    assert agent.act(FAR[:20]).tolist() == loaded.act(FAR[:20]).tolist()


@pytest.mark.parametrize("agent_id", ["LinTS", "dTS", "dUCB", "JointTS"])
def test_states_from_before_restore_and_what_they_lost_is_refused(agent_id):
    agent = dts_gym.make_agent(agent_id, problem(3, 2), seed=0)
    contexts = np.random.default_rng(0).standard_normal((30, 2))
    agent.update(contexts, np.arange(30) % 2, contexts[:, 0])
    state = {k: v for k, v in agent._state().items() if not k.startswith(("precise", "narrow", "weight"))}
    agent._posterior.restore(state)
    assert not agent._posterior.is_careful
    before = agent.marginals(contexts[0])
    agent._posterior.restore(agent._state())
    np.testing.assert_array_equal(agent.marginals(contexts[0]), before)


@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "dTS", "dUCB"])
def test_a_refusal_changes_nothing(agent_id):
    """One direction is learned 3e27 times better than the prior, and another not at all."""
    agent = dts_gym.make_agent(agent_id, problem(3, 2, 1e-20), seed=0)
    x = np.array([0.6e8, 0.8e8]) / 3
    agent.update([x, x, 2 * x], [0, 0, 0], [1.0, 1.0, 2.0])
    agent.act(np.zeros(2))
    streams = {name: rng.bit_generator.state for name, rng in agent._rngs.items()}
    state = {name: array.copy() for name, array in agent._state().items()}
    plan = agent._plan
    for call in (
        agent.act,
        agent.predict,
        agent.marginals,
        lambda x: agent.act([np.zeros(2), x], mask=[[True, True, True], [True, False, True]]),
        agent.action_probabilities,
    ):
        with pytest.raises(ValueError, match="context must be one along which 32 digits"):
            call(x)
    assert agent._plan == plan
    for name, rng in agent._rngs.items():
        assert rng.bit_generator.state == streams[name]
    for name, array in agent._state().items():
        np.testing.assert_array_equal(array, state[name])
    assert agent.act(np.zeros(2)) in range(3)


def test_twofold_numbers_against_rational_ones():
    rng = np.random.default_rng(0)
    a, b = (Twofold(rng.standard_normal(300)) * (1 + 1e-9 * rng.standard_normal(300)) for _ in range(2))

    def exact(numbers):
        return rational(numbers.high) + rational(numbers.low)

    for operate in (lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / y):
        right = operate(exact(a), exact(b))
        off = np.array([float(part) for part in (exact(operate(a, b)) - right) / right])
        assert np.abs(off).max() < EPS
    total = exact(a[None].cumsum())[0]
    assert np.abs((total - np.cumsum(exact(a))).astype(float)).max() < 300 * EPS
    assert abs(float(exact(a.sum()[None])[0] - exact(a).sum())) < 300 * EPS


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize(("scale", "noise_std"), [(1.0, 1e-6), (1e12, 1.0), (1e25, 1.0), (1e4, 1e-2)])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_actions_of_which_a_part_is_all_shared(rank, scale, noise_std, in_batch):
    """Scores given all rewards, by the covariances of scores and rewards in rational numbers."""
    rng = np.random.default_rng([rank, 7])
    d, n, K = 3, 14, 2
    root = rng.standard_normal((d, rank))
    prior = TwoLevelPrior(rng.standard_normal(d), random_cov(rng, d), root @ root.T)
    # At 1e25 rewards are rounded by 1e9 deviations: what they say of an action that nobody has played is refused.
    every_action = K + (scale < 1e25)
    posterior = TwoLevelPosterior(prior, every_action, noise_std)
    X, actions = scale * rng.standard_normal((n, d)), rng.integers(K, size=n)
    own = posterior.table.basis * posterior.table.reached  # the posterior's own S is own @ own.T
    theta = prior.mean + np.linalg.cholesky(prior.shared_cov) @ rng.standard_normal(d)
    y = ((theta + rng.standard_normal((K, d)) @ own.T)[actions] * X).sum(axis=1) + noise_std * rng.standard_normal(n)
    if in_batch:
        posterior.update_all(X, actions, y)
    else:
        for x, a, reward in zip(X, actions.tolist(), y.tolist(), strict=True):
            posterior.update(x, a, reward)
    queries = np.concatenate([X[:2], scale * rng.standard_normal((2, d))])
    every = rational(np.concatenate([X, np.repeat(queries, every_action, axis=0)]))
    who = np.concatenate([actions, np.tile(np.arange(every_action), 4)])
    same = rational((who[:, None] == who).astype(float))
    cov = every.dot(rational(prior.shared_cov)).dot(every.T) + same * every.dot(rational(own)).dot(rational(own.T)).dot(
        every.T
    )
    seen = cov[:n, :n] + rational(np.eye(n)) * Fraction(noise_std) ** 2
    means = every.dot(rational(prior.mean))
    weights = solved(seen, cov[:n, n:])
    right = means[n:] + weights.T.dot(rational(y) - means[:n])
    stds = np.sqrt((np.diagonal(cov)[n:] - (weights * cov[:n, n:]).sum(axis=0)).astype(float))
    assert posterior.is_careful
    laws = posterior.laws(queries)
    got, got_std = laws.of_all(lambda one: one.mean()).ravel(), np.sqrt(laws.of_all(lambda one: one.variance())).ravel()
    off = np.array(
        [float(abs(Fraction(m) - r)) - ULPS * abs(float(r)) for m, r in zip(got.tolist(), right, strict=True)]
    )
    assert (off < 1e-6 * stds).all()
    np.testing.assert_allclose(got_std, stds, rtol=1e-6)
