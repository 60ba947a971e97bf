"""Errors of scores from float32 matrices, against bounds derived from the rounding of each operation.

``python -m pytest tests/posteriors/test_float32.py -rP`` prints what was measured.
"""

import functools

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym.checks.agent_checks import check_agent
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import factor
from truth import cov_along, random_axes

K = 100
EPS = 2.0**-24  # float32's unit roundoff
AGENTS = ["dTS", "dUCB", "HierTS", "MarginalLinTS", "LinTS", "LinUCB"]


def uniform(rng, n, d):
    return rng.uniform(-1, 1, (n, d))


def uneven(rng, n, d):
    """Some directions are seen with a ten-thousandth of the others' strength."""
    axes = np.linalg.qr(np.random.default_rng(9).standard_normal((d, d)))[0]
    return (uniform(rng, n, d) * np.logspace(0, -4, d)) @ axes


def both(prior, noise_std, updates, contexts, seed=0):
    """The posteriors in float64 and float32 after the same rewards, every action played."""
    rng = np.random.default_rng(seed)
    d = len(prior.mean)
    pair = [TwoLevelPosterior(prior, K, noise_std, dtype=dtype) for dtype in ("float64", "float32")]
    shared = rng.multivariate_normal(np.zeros(d), prior.shared_cov)
    own = rng.multivariate_normal(np.zeros(d), prior.action_cov, K)
    root = factor(prior.action_cov)
    if root.shape[1] < d:
        # NumPy draws directions without variance with the root of a rounding error, 1e-8. Precise rewards would see
        # that, and contradict the prior: the posteriors then depend on rounding alone.
        own = own @ (root @ np.linalg.pinv(root)).T
    theta = prior.mean + shared + own
    for start in range(0, updates, 10_000):
        n = min(10_000, updates - start)
        X, actions = contexts(rng, n, d), np.r_[np.arange(K), rng.integers(K, size=n - K)]
        rewards = (X * theta[actions]).sum(axis=1) + noise_std * rng.standard_normal(n)
        for posterior in pair:
            posterior.update_all(X, actions, rewards)
    return pair


def true_moments(table, u, m):
    """Moments of every action's score given ``m``, (n, K), and ``T``, from the evidence by solving: ``T (h + m)``."""
    G, h = table.evidence()
    seen = table.basis.T @ G @ table.basis
    T = np.linalg.inv(np.eye(table.dim) + (seen + seen.swapaxes(1, 2)) / 2)
    mean = np.einsum("ni,kij,nkj->nk", u, T, (h @ table.basis)[None] + m[:, None], optimize=True)
    return mean, np.einsum("ni,kij,nj->nk", u, T, u, optimize=True), T


def bounds(table, T, u, m):
    """What float32 can do to a score's mean and variance, (n, K).

    A packed form sums N products of two rounded numbers, in any order: to first order its error is at most
    ``(N + 2) eps`` times the sum of their magnitudes; and ``|T_ij| <= (T_ii T_jj)^1/2``.
    """
    g = (table.packed_dim + 3) * EPS
    std = np.sqrt(np.einsum("kii->ki", T))  # (K, d)
    along, across = np.abs(u) @ std.T, np.abs(m) @ std.T
    return g * along * across, g * along**2


CASES = {
    "plain": (1.0, 1.0, 1.0, uniform),
    "precise rewards": (1.0, 1.0, 1e-3, uniform),
    "uneven contexts": (1.0, 1.0, 1.0, uneven),
    "uneven contexts, precise": (1.0, 1.0, 1e-2, uneven),
    "much shared": (1e-3, 1.0, 1.0, uniform),
    "nearly all shared": (1e-5, 1.0, 1.0, uniform),
    "wide prior": (1e3, 1e3, 1.0, uniform),
}


@pytest.mark.parametrize("updates", [1000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("d", [5, 20])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_within_the_bound_and_choices_within_twice(case, d, updates):
    own, shared, noise_std, law = CASES[case]
    rng = np.random.default_rng([d, updates])
    prior = TwoLevelPrior(
        rng.standard_normal(d),
        shared**2 * cov_along(random_axes(rng, d), np.ones(d)),
        own**2 * cov_along(random_axes(rng, d), np.logspace(0, -1, d)),
    )
    wide, narrow = both(prior, noise_std, updates, law)
    contexts = narrow._in_range(law(rng, 1000, d))
    u = contexts @ narrow.table.basis
    m = wide._draw_shared((1000,), np.random.default_rng(2), 1.0)
    mean, variance, T = true_moments(wide.table, u, m)
    mean_bound, variance_bound = bounds(narrow.table, T, u, m)
    std = np.sqrt(variance)
    got_mean, got_variance = (part.T for part in narrow._score_moments(contexts, m)[:2])
    # What is left of the tolerance is for the truth, solved for in float64.
    assert (np.abs(got_mean - mean) < mean_bound + 1e-9 * np.abs(mean) + 1e-6 * std).all()
    assert (np.abs(got_variance - variance) < variance_bound + 1e-6 * variance).all()

    # The same random numbers: the choice is the best by true scores, or as good to twice what a score may be off.
    chosen = narrow.thompson(contexts, np.random.default_rng(2), 1.0)
    stream = np.random.default_rng(2)
    assert (wide._draw_shared((1000,), stream, 1.0) == m).all()
    noise = stream.standard_normal((K, 1000)).T
    scores = mean + std * noise
    off = mean_bound + np.abs(noise) * np.minimum(variance_bound / std, np.sqrt(variance_bound)) + 1e-6 * std
    order = narrow.table.actions
    slots = np.empty(K, dtype=int)
    slots[order] = np.arange(K)
    rows = np.arange(1000)
    best = scores.argmax(axis=1)
    lost = scores.max(axis=1) - scores[rows, slots[chosen]]
    assert (lost <= off[rows, best] + off[rows, slots[chosen]]).all()
    more = law(rng, 20_000, d)
    differ = np.mean(narrow.thompson(more, np.random.default_rng(3)) != wide.thompson(more, np.random.default_rng(3)))
    assert differ < 0.002
    worst = [(np.abs(got_mean - mean) / std).max(), np.abs(np.sqrt(got_variance) / std - 1).max()]
    print(f"{case}, d={d}, n={updates}: mean {worst[0]:.1e}, deviation {worst[1]:.1e}, other choices {differ:.1e}")
    if case == "plain":  # where nothing is extreme the bound is small itself
        assert (mean_bound / std).max() < 0.05
        assert max(worst) < 1e-5

    # Updates are in float64: so are the moments.
    for got, truth in zip(narrow.moments(), wide.moments(), strict=True):
        np.testing.assert_allclose(got, truth, rtol=0, atol=1e-9 * np.abs(truth).max())


@pytest.mark.parametrize("rank", [0, 2, 4])
@pytest.mark.parametrize(("noise_std", "norm"), [(1e-6, 1.0), (1.0, 1e3), (1e6, 1.0), (1.0, 1e-25), (1.0, 1e25)])
@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.filterwarnings("error")
def test_extreme_noise_contexts_and_ranks_play_as_in_float64(rank, noise_std, norm, shared):
    """Numbers that float32 does not hold, and own noise that reaches a part of the parameters only."""
    rng = np.random.default_rng([rank, int(shared)])
    d = 4
    prior = TwoLevelPrior(
        rng.standard_normal(d),
        shared * cov_along(random_axes(rng, d), np.ones(d)),
        cov_along(random_axes(rng, d), (np.arange(d) < rank) * 1.0),
    )
    wide, narrow = both(prior, noise_std, 1000, lambda rng, n, d: norm * rng.standard_normal((n, d)))
    contexts = norm * rng.standard_normal((500, d))
    for choose in ("thompson", "upper_confidence"):
        one, other = (getattr(posterior, choose)(contexts, np.random.default_rng(1)) for posterior in (wide, narrow))
        # Where nothing distinguishes the actions, rounding does.
        alike = (narrow.table.reached == 0).all() or noise_std / norm > 1e12
        assert alike or np.mean(one == other) > 0.98
    for got, truth in zip(narrow.moments(), wide.moments(), strict=True):
        np.testing.assert_allclose(got, truth, rtol=0, atol=1e-6)  # what float64 resolves at such ratios


@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("norm", [1e-30, 1e-15, 1e15, 1e30])
@pytest.mark.filterwarnings("error")
def test_laws_follow_the_length_of_a_context(norm, shared):
    """``x' theta`` is linear in ``x``: the truth is the float64 distribution for the unit context, times the length."""
    rng = np.random.default_rng(6)
    wide, narrow = both(TwoLevelPrior(np.ones(3), shared * np.eye(3), np.eye(3)), 0.5, 400, uniform)
    contexts = uniform(rng, 20, 3)
    for got, truth in zip(narrow.laws(norm * contexts)[2:], wide.laws(contexts)[2:], strict=True):
        std = np.sqrt(truth.variance())
        np.testing.assert_allclose(np.sqrt(got.variance()) / (norm * std), 1.0, atol=1e-5)
        np.testing.assert_allclose((got.mean() / norm - truth.mean()) / std, 0.0, atol=1e-5)


@pytest.mark.parametrize("agent_id", AGENTS)
def test_agents_in_float32_keep_the_contract(agent_id, tmp_path):
    """`check_agent` has batches, streams, saving and loading bit for bit."""
    make = functools.partial(dts_gym.make_agent, agent_id, dtype="float32")
    check_agent(make)
    problem = dts_gym.BanditProblem(40, 3, dts_gym.random_linear_prior(3, 2, seed=1), dts_gym.GaussianReward(0.5))
    agent = make(problem, seed=0)
    rng = np.random.default_rng(0)
    agent.update(rng.standard_normal((200, 3)), rng.integers(30, size=200), rng.standard_normal(200))
    agent.save(tmp_path / "agent.npz")
    loaded = type(agent).load(tmp_path / "agent.npz")
    assert [a._posterior.table.cov.dtype for a in (agent, loaded, *agent.spawn(2))] == [np.float32] * 4
    contexts = rng.standard_normal((50, 3))
    for one in (agent, loaded):
        one.update(contexts, np.arange(50) % 40, contexts[:, 0])
    for name, array in agent._state().items():
        np.testing.assert_array_equal(array, loaded._state()[name])
    assert agent.act(contexts).tolist() == loaded.act(contexts).tolist()
    plain = dts_gym.make_agent(agent_id, problem, seed=0)
    assert plain._posterior.table.cov.dtype == np.float64


def test_a_batch_in_float32_equals_the_loop():
    rng = np.random.default_rng(3)
    prior = TwoLevelPrior(np.zeros(3), np.eye(3), cov_along(random_axes(rng, 3), np.array([1.0, 0.5, 0.0])))
    batched, looped = (TwoLevelPosterior(prior, K, 0.5, dtype="float32") for _ in range(2))
    contexts, actions, rewards = rng.standard_normal((400, 3)), rng.integers(60, size=400), rng.standard_normal(400)
    batched.update_all(contexts, actions, rewards)
    for x, action, reward in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
        looped.update(x, action, reward)
    np.testing.assert_allclose(batched.table.gamma(), looped.table.gamma(), atol=1e-13, rtol=0)
    for got, truth in zip(batched.moments(), looped.moments(), strict=True):
        np.testing.assert_allclose(got, truth, atol=1e-12, rtol=0)


def test_scores_read_half_the_bytes():
    rng = np.random.default_rng(4)
    wide, narrow = both(TwoLevelPrior(np.zeros(5), np.eye(5), np.eye(5)), 1.0, 1000, uniform)
    assert 2 * narrow.state()["cov"].nbytes == wide.state()["cov"].nbytes
    x = rng.standard_normal(5)
    assert narrow._score_moments(x, x)[1].dtype == np.float32
    assert narrow.table.products(x).dtype == np.float32


@pytest.mark.parametrize("agent_id", AGENTS)
@pytest.mark.parametrize("dtype", ["float16", "f4", np.float32, None, 32, True])
def test_other_precisions_are_refused(agent_id, dtype):
    problem = dts_gym.BanditProblem(4, 2, dts_gym.random_linear_prior(2, 1, seed=0), dts_gym.GaussianReward())
    with pytest.raises(ValueError, match="dtype must be 'float64' or 'float32', got"):
        dts_gym.make_agent(agent_id, problem, dtype=dtype)


def problem_with(features="disjoint", reward=None, link="linear"):
    env_id = "DiffusionBandit-v0" if features == "disjoint" else "SharedDiffusionBandit-v0"
    return gym.make(env_id, num_actions=4, dim=2, depth=1, link=link, reward=reward or "gaussian").unwrapped.problem


@pytest.mark.parametrize(
    ("agent_id", "settings", "problem"),
    [
        ("dTS", {}, {"features": "shared"}),
        ("LinTS", {}, {"features": "shared"}),
        ("LinUCB", {}, {"features": "shared"}),
        ("dTS", {}, {"link": "mlp"}),
        ("dTS", {"branch": 1}, {"link": "mlp"}),
        ("dUCB", {}, {"reward": "bernoulli"}),
        ("dTS", {"approximation": "slice"}, {}),
        ("dTS", {"approximation": "particles"}, {}),
    ],
)
def test_where_there_is_no_pass_over_matrices_float32_is_refused(agent_id, settings, problem):
    with pytest.raises(ValueError, match=r"dtype must be 'float64' .*, got 'float32'"):
        dts_gym.make_agent(agent_id, problem_with(**problem), dtype="float32", **settings)
    dts_gym.make_agent(agent_id, problem_with(**problem), dtype="float64", **settings)
