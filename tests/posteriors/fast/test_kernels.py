"""Compiled kernels against the NumPy code that they replace: the same posteriors and the same choices."""

import copy
import pickle

import numpy as np
import pytest

import truth
from dts_gym import BanditProblem, GaussianReward, make_agent
from dts_gym.posteriors import reference
from dts_gym.posteriors.fast.switch import is_fast
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior

pytest.importorskip("numba", reason="numba is not installed")


def a_prior(dim, rng, own_rank=None, shared_rank=None):
    """A prior of these ranks of the actions' own part and of the shared one; None: full."""
    roots = [rng.standard_normal((dim, dim if rank is None else rank)) for rank in (own_rank, shared_rank)]
    own, shared = (root @ root.T / dim for root in roots)
    return TwoLevelPrior(rng.standard_normal(dim), shared, own)


def both(monkeypatch, prior, num_actions, dtype="float64"):
    """The same posterior by NumPy and by the compiled kernels."""
    made = []
    for value in "01":
        monkeypatch.setenv("DTS_GYM_FAST", value)
        made.append(TwoLevelPosterior(prior, num_actions, 0.7, dtype=dtype))
    assert [posterior._is_fast for posterior in made] == [False, True]
    return made


def assert_equal_states(plain, compiled, rtol=1e-12):
    theirs = compiled.state()
    for name, array in plain.state().items():
        size = max(1.0, float(np.abs(array).max(initial=0.0)))
        if "carry" not in name:  # what rounding has cost is rounding itself
            np.testing.assert_allclose(theirs[name], array, rtol=rtol, atol=rtol * size, err_msg=name)


@pytest.mark.parametrize("ranks", [(None, None), (None, 0), (2, None), (None, 2), (2, 2)])
@pytest.mark.parametrize("from_", [0, 1 << 17])
def test_states_and_choices_are_those_of_numpy(monkeypatch, ranks, from_):
    """2000 rounds, of which the first meet unplayed actions; with and without bounds in place of scores."""
    monkeypatch.setattr(reference, "_FROM", from_)
    rng, d, K = np.random.default_rng(3), 4, 60
    pair = both(monkeypatch, a_prior(d, rng, *ranks), K)
    streams = [np.random.default_rng(5), np.random.default_rng(5)]
    for t in range(2000):
        x, scale = rng.standard_normal(d), (1.0, 0.4, 2.5)[t % 3]
        mask = None if t % 2 else rng.random(K) < 0.3
        if mask is not None:
            mask[t % K] = True
        first, second = (
            int(posterior.thompson(x, stream, scale, mask)) for posterior, stream in zip(pair, streams, strict=True)
        )
        assert first == second, t
        assert mask is None or mask[first]
        by_bounds = {
            int(posterior.upper_confidence(x, stream, scale, mask))
            for posterior, stream in zip(pair, streams, strict=True)
        }
        assert len(by_bounds) == 1, t
        for posterior in pair:
            posterior.update(x, first, float(np.sin(t)))
    assert_equal_states(*pair)
    assert streams[0].random() == streams[1].random()
    assert 10 < len(pair[0].table) <= K


def test_many_actions_are_left_out_by_bounds(monkeypatch):
    """The scores of nearly all actions are not computed, and the best is the best of all."""
    rng, d, K = np.random.default_rng(0), 20, 3000
    pair = both(monkeypatch, a_prior(d, rng), K)
    contexts, rewards = rng.standard_normal((K, d)), rng.standard_normal(K)
    for posterior in pair:
        posterior.update_all(contexts, np.arange(K), rewards)
    streams = [np.random.default_rng(5), np.random.default_rng(5)]
    for t in range(60):
        x = rng.standard_normal(d)
        chosen = [int(each.thompson(x, stream)) for each, stream in zip(pair, streams, strict=True)]
        assert chosen[0] == chosen[1]
        by_bounds = [int(each.upper_confidence(x, stream, 3.0)) for each, stream in zip(pair, streams, strict=True)]
        assert by_bounds[0] == by_bounds[1]
        if t == 30:  # a batch between rounds, and rounds of one: the bounds know of both
            for posterior in pair:
                posterior.update_all(contexts[:50], np.arange(50), rewards[:50] + 3.0)
        for posterior in pair:
            posterior.update(x, chosen[0], 2.0)
    centers, at = pair[1]._reference()
    table = pair[1].table
    np.testing.assert_allclose(centers, table.beta + table.unpack(table.cov) @ at, atol=1e-12)
    mean, root = pair[1].shared_moments()
    assert (mean - at) @ (mean - at) <= np.vdot(root, root)


def test_bounds_follow_a_restored_posterior(monkeypatch):
    rng, d, K = np.random.default_rng(0), 3, 40
    monkeypatch.setattr(reference, "_FROM", 0)
    _, posterior = both(monkeypatch, a_prior(d, rng), K)
    for action in range(K):
        posterior.update(rng.standard_normal(d), action, 1.0)
    before = posterior.state()
    posterior.thompson(np.ones(d), rng)
    for action in range(K):
        posterior.update(rng.standard_normal(d), action, -5.0)
    posterior.thompson(np.ones(d), rng)
    posterior.restore(before)
    centers, at = posterior._reference()
    table = posterior.table
    np.testing.assert_allclose(centers, table.beta + table.unpack(table.cov) @ at, atol=1e-12)


def test_single_precision(monkeypatch):
    """Scores read matrices in single precision: moments are those of NumPy, choices but for ties at its rounding."""
    rng, d, K = np.random.default_rng(3), 4, 60
    pair = both(monkeypatch, a_prior(d, rng), K, dtype="float32")
    streams, differ = [np.random.default_rng(5), np.random.default_rng(5)], 0
    for _ in range(1000):
        x = rng.standard_normal(d)
        chosen = [int(each.thompson(x, stream)) for each, stream in zip(pair, streams, strict=True)]
        differ += chosen[0] != chosen[1]
        reward = float(rng.standard_normal())
        for posterior in pair:
            posterior.update(x, chosen[0], reward)
    assert differ <= 2
    plain, compiled = ({n: a for n, a in each.state().items() if n != "cov"} for each in pair)
    for name in ("beta", "mean", "root"):
        np.testing.assert_allclose(compiled[name], plain[name], rtol=1e-12, atol=1e-12)


def test_what_outweighs_its_prior_is_left_to_numpy(monkeypatch):
    """A tiny noise makes rows precise and the shared part narrow, on both paths at the same reward."""
    rng, d = np.random.default_rng(1), 3
    prior = a_prior(d, rng)
    pair = both(monkeypatch, prior, 5)
    for posterior in pair:
        posterior.noise_std = 1e-5
    for t in range(40):
        x = rng.standard_normal(d)
        for posterior in pair:
            posterior.update(x, t % 5, float(x.sum()))
        assert pair[0].is_careful == pair[1].is_careful
    assert pair[0].is_careful
    for one, other in zip(pair[0].moments(), pair[1].moments(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-8, atol=1e-12)


def test_compiled_posterior_is_the_dense_one(monkeypatch):
    """Against a posterior of all parameters by one dense solve."""
    rng, d, K = np.random.default_rng(2), 3, 4
    prior = a_prior(d, rng)
    _, posterior = both(monkeypatch, prior, K)
    X, actions, y = rng.standard_normal((30, d)), rng.integers(K, size=30), rng.standard_normal(30)
    for x, action, reward in zip(X, actions.tolist(), y.tolist(), strict=True):
        posterior.update(x, action, reward)
    design = np.zeros((30, K * d))
    for i, action in enumerate(actions):
        design[i, action * d : (action + 1) * d] = X[i]
    cov = np.kron(np.ones((K, K)), prior.shared_cov) + np.kron(np.eye(K), prior.action_cov)
    gain = np.linalg.solve(design @ cov @ design.T + 0.49 * np.eye(30), design @ cov).T
    center = np.tile(prior.mean, K)
    mean, got = posterior.moments()
    np.testing.assert_allclose(mean.ravel(), center + gain @ (y - design @ center), atol=1e-10)
    np.testing.assert_allclose(got, cov - gain @ design @ cov, atol=1e-10)


def test_ties_are_broken_as_by_numpy(monkeypatch):
    """Actions without a deviation of their own and without a shared part all have the score 0."""
    prior = TwoLevelPrior(np.zeros(2), np.zeros((2, 2)), np.zeros((2, 2)))
    pair = both(monkeypatch, prior, 6)
    streams = [np.random.default_rng(5), np.random.default_rng(5)]
    for posterior in pair:
        for action in range(4):
            posterior.update(np.ones(2), action, 1.0)
    for way in ("thompson", "upper_confidence"):
        chosen = np.array(
            [[int(getattr(p, way)(np.ones(2), s)) for p, s in zip(pair, streams, strict=True)] for _ in range(80)]
        )
        assert (chosen[:, 0] == chosen[:, 1]).all()
        assert len(set(chosen[:, 0].tolist())) == 6


@pytest.mark.parametrize("agent_id", ["dTS", "LinTS", "HierTS", "dUCB"])
def test_agents_play_the_same(monkeypatch, agent_id):
    """Contexts that are read-only views, in single and in batches; copies and files go on in the same way."""
    problem = BanditProblem(30, 3, truth.random_chain(np.random.default_rng(0), 2, d=3), GaussianReward(0.5))
    played = []
    for value in "01":
        monkeypatch.setenv("DTS_GYM_FAST", value)
        agent, rng = make_agent(agent_id, problem, seed=1, exploration=1.0), np.random.default_rng(4)
        contexts = np.asfortranarray(rng.standard_normal((300, 3)))
        contexts.flags.writeable = False
        actions = []
        for t, x in enumerate(contexts):
            actions.append(agent.act(x))
            agent.update(x, actions[-1], float(np.cos(t)))
            if t % 100 == 50:
                batch = agent.act(contexts[:20])
                agent.update(contexts[:20], batch, np.ones(20))
                actions += batch.tolist()
            if t == 150:
                agent = copy.deepcopy(agent)
            if t == 200:
                agent = pickle.loads(pickle.dumps(agent))
        played.append((actions, agent.moments()))
    assert played[0][0] == played[1][0]
    for one, other in zip(played[0][1], played[1][1], strict=True):
        np.testing.assert_allclose(other, one, atol=1e-12)


def test_the_switch(monkeypatch):
    monkeypatch.delenv("DTS_GYM_FAST", raising=False)
    assert is_fast()
    monkeypatch.setenv("DTS_GYM_FAST", "0")
    assert not is_fast()
    monkeypatch.setenv("DTS_GYM_FAST", "yes")
    with pytest.raises(ValueError, match="DTS_GYM_FAST must be 0 or 1, got 'yes'"):
        is_fast()
