"""Policies learned from logs: gradients, optima, guarantees, files; logs that agents make, and replay."""

import math
import tracemalloc
import warnings

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import approx_fprime

import dts_gym
from dts_gym import random_linear_prior, random_mlp_prior
from dts_gym.envs.logged import LoggedBanditEnv
from dts_gym.offpolicy import BanditLog, OffPolicyWarning, evaluate, learn, load_policy, record, replay
from dts_gym.offpolicy.learned_policies import PerturbedPolicy
from dts_gym.offpolicy.objectives import perturbed_objective, softmax_objective

pytestmark = pytest.mark.filterwarnings("ignore::dts_gym.offpolicy.OffPolicyWarning")
K, D = 3, 2
PRIOR = random_linear_prior(D, 2, seed=0)


def logged(n=200, shared=False, masked=False, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, K, D) if shared else (n, D))
    masks = None
    if masked:
        masks = rng.random((n, K)) < 0.7
        masks[np.arange(n), rng.integers(K, size=n)] = True
    p = rng.dirichlet(np.ones(K), n) * (1 if masks is None else masks) + 1e-9 * (1 if masks is None else masks)
    p /= p.sum(axis=1, keepdims=True)
    a = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    theta = np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])
    scores = x @ theta[0] if shared else x @ theta.T
    y = (rng.random(n) < 1 / (1 + np.exp(-scores[np.arange(n), a]))).astype(float)
    return BanditLog(x, a, y, p, masks=masks)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("lam", [None, 0.3])
def test_gradients_of_softmax_policies_are_differences(lam, shared, masked):
    log = logged(40, shared, masked)
    theta = np.random.default_rng(1).normal(size=(1 if shared else K, D))
    gains = log.rewards / log.played_propensities

    def value(flat):
        return softmax_objective(log, gains, lam, flat.reshape(theta.shape))[0]

    slope = softmax_objective(log, gains, lam, theta)[1]
    np.testing.assert_allclose(slope.ravel(), approx_fprime(theta.ravel(), value, 1e-6), atol=1e-4 * abs(slope).max())


@pytest.mark.parametrize("masked", [False, True])
def test_the_objective_of_perturbed_policies_is_that_of_draws_and_its_gradient_differences(masked):
    log = logged(30, masked=masked)
    rng = np.random.default_rng(1)
    means, gains = rng.normal(size=(K, D)), rng.random(30)
    value, slope = perturbed_objective(log, gains, means, 0.7)
    close = approx_fprime(means.ravel(), lambda m: perturbed_objective(log, gains, m.reshape(K, D), 0.7)[0], 1e-6)
    np.testing.assert_allclose(slope.ravel(), close, atol=1e-5)
    draws = means + 0.7 * rng.standard_normal((20_000, K, D))
    scores = np.einsum("skd,nd->nsk", draws, log.contexts)
    if masked:
        scores = np.where(log.masks[:, None], scores, -np.inf)
    wins = scores.argmax(axis=2) == log.actions[:, None]  # (n, draws)
    each = gains @ wins / 30
    assert abs(value - each.mean()) < 4.5 * each.std() / math.sqrt(20_000)
    probabilities = PerturbedPolicy(means, 0.7, "LS-LIN", "", K, (D,)).action_probabilities(log.contexts, log.masks)
    assert abs(gains @ probabilities[np.arange(30), log.actions] / 30 - value) < 1e-6


@pytest.mark.parametrize("learner", ["sDM", "LCB", "IPS", "ES", "LS", "LS-LIN"])
def test_learned_policies_beat_the_log_and_survive_files(learner, tmp_path):
    log = logged(2000)
    policy = learn(log, learner, PRIOR, reward="bernoulli" if learner in ("sDM", "LCB") else None)
    x = np.random.default_rng(9).uniform(-1, 1, (4000, D))
    theta = np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]])
    means = 1 / (1 + np.exp(-x @ theta.T))
    p = policy.action_probabilities(x)
    assert np.allclose(p.sum(axis=1), 1)
    assert (
        (p * means).sum(axis=1).mean()
        > (0.85 if learner == "LS-LIN" else 0.9) * means.max(axis=1).mean()
        > means.mean()
    )
    policy.save(tmp_path / "policy.npz")
    back = load_policy(tmp_path / "policy.npz")
    np.testing.assert_array_equal(back.action_probabilities(x[:50]), p[:50])
    assert repr(back) == repr(policy)
    assert back.learned_from == log.fingerprint
    one = policy.action_probabilities(x[0], mask=[True, False, False])
    assert one.tolist() == [1.0, 0.0, 0.0]
    assert policy.act(x[0], mask=[False, True, False]) == 1
    assert (policy.guarantee is not None) == (learner == "LS-LIN")


def test_the_guarantee_is_the_published_bound_and_below_the_value():
    log = logged(3000)
    policy = learn(log, "LS-LIN", lam=0.02, level=0.9)
    p = policy.action_probabilities(log.contexts)[np.arange(3000), log.actions]
    smoothed = np.mean(p * np.log(1 + 0.02 * log.rewards / log.played_propensities)) / 0.02
    kl = (policy.parameters**2).sum() / 2
    expected = np.expm1(0.02 * (smoothed - (kl + math.log(10)) / (0.02 * 3000))) / 0.02
    assert policy.guarantee == pytest.approx(expected, abs=1e-6)
    x = np.random.default_rng(9).uniform(-1, 1, (20_000, D))
    means = 1 / (1 + np.exp(-x @ np.array([[2.0, 0.0], [0.0, 2.0], [-2.0, -2.0]]).T))
    assert means.mean() < policy.guarantee < (policy.action_probabilities(x) * means).sum(axis=1).mean()


def test_greedy_and_pessimistic_policies_are_the_posteriors():
    log = logged(60)
    agent = dts_gym.make_agent("dTS", dts_gym.BanditProblem(K, D, PRIOR, dts_gym.GaussianReward()), seed=0)
    agent.update(log.contexts, log.actions, log.rewards)
    mean, std = agent.marginals(log.contexts)
    greedy = learn(log, "sDM", PRIOR).action_probabilities(log.contexts).argmax(axis=1)
    np.testing.assert_array_equal(greedy, mean.argmax(axis=1))
    careful = learn(log, "LCB", PRIOR, pessimism=2.0).action_probabilities(log.contexts).argmax(axis=1)
    np.testing.assert_array_equal(careful, (mean - 2 * std).argmax(axis=1))


def test_actions_for_many_contexts_need_no_table_of_all_probabilities():
    """5000 contexts by 2000 actions are 80 MB."""
    rng = np.random.default_rng(0)
    x, a = rng.uniform(-1, 1, (500, D)), rng.integers(2000, size=500)
    policy = learn(BanditLog(x, a, rng.normal(size=500), num_actions=2000), "sDM", PRIOR)
    contexts = rng.uniform(-1, 1, (5000, D))
    tracemalloc.start()
    picked = policy.act(contexts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 70e6
    np.testing.assert_array_equal(picked, policy.action_probabilities(contexts).argmax(axis=1))


REFUSED = {
    "learner": (("sdm",), {}, "did you mean sDM"),
    "prior": (("sDM",), {}, "prior must be given"),
    "reference": (("LS-LIN",), {"reference": np.zeros((2, 2))}, "reference must have shape"),
    "pessimism": (("LCB", PRIOR), {"pessimism": -1.0}, "pessimism must not be negative"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    given, settings, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        learn(logged(), *given, **settings)


def test_learners_by_weights_need_propensities_and_rewards_of_the_right_sign():
    log = logged()
    bare = BanditLog(log.contexts, log.actions, log.rewards)
    with pytest.raises(ValueError, match="propensities must be in the log and above 0 for IPS, got none"):
        learn(bare, "IPS")
    low = BanditLog(log.contexts, log.actions, log.rewards - 1, log.propensities)
    with pytest.raises(ValueError, match="rewards must not be negative for LS"):
        learn(low, "LS")
    high = BanditLog(log.contexts, log.actions, log.rewards * 2, log.propensities)
    with pytest.raises(ValueError, match=r"rewards must be in 0..1 for LS-LIN, got 2"):
        learn(high, "LS-LIN")


def test_a_policy_on_a_bent_chain_is_learned_and_not_saved(tmp_path):
    policy = learn(logged(40), "sDM", random_mlp_prior(D, 1, hidden=4))
    assert policy.action_probabilities(np.zeros((2, D))).sum() == 2
    with pytest.raises(ValueError, match="must rest on a linear chain"):
        policy.save(tmp_path / "policy.npz")
    (tmp_path / "other.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="path must be"):
        load_policy(tmp_path / "other.npz")


def test_record_takes_propensities_before_each_update():
    """Uniform choices of an agent without data, then those that its posterior makes: probabilities move."""
    env = gym.make("DiffusionBandit-v0", num_actions=4, dim=2, noise_std=0.1)
    agent = dts_gym.make_agent("LinUCB", env, seed=0)
    log = record(env, agent, num_rounds=30, seed=3)
    assert (agent.num_updates, len(log), log.adapted, log.reward.noise_std) == (30, 30, True, 0.1)
    fresh = dts_gym.make_agent("LinUCB", env, seed=0)
    for i in range(5):
        if log.propensities.ndim == 2:
            expected = fresh.action_probabilities(log.contexts[i])
            assert np.abs(log.propensities[i] - expected).max() < 0.15
        fresh.update(log.contexts[i], int(log.actions[i]), float(log.rewards[i]))
    again = record(env, dts_gym.make_agent("LinUCB", env, seed=0), num_rounds=30, seed=3)
    np.testing.assert_array_equal(log.rewards, again.rewards)
    still = dts_gym.make_agent("LinUCB", env, seed=0)
    assert record(env, still, num_rounds=5, learn=False).adapted is False
    assert still.num_updates == 0


def test_record_plays_learned_policies():
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D)
    policy = learn(logged(), "LS")
    log = record(env, policy, num_rounds=20, learn=False)
    np.testing.assert_allclose(log.propensities, policy.action_probabilities(log.contexts))
    assert evaluate(log, policy, ["IPS"])["IPS"].value == pytest.approx(log.rewards.mean())
    with pytest.raises(ValueError, match="learn must be False"):
        record(env, policy, num_rounds=20)
    with pytest.raises(ValueError, match="agent must have act_with_probability"):
        record(env, 3, num_rounds=20)


BAD = {
    "negative": ([-0.5, 1.0, 0.5], r"in 0..1, got -0.5 for action 0"),
    "above 1": ([0.0, 1.5, 0.0], r"in 0..1, got 1.5 for action 1"),
    "no number": ([0.5, 0.5, np.nan], r"in 0..1, got nan for action 2"),
    "another sum": ([0.5, 0.25, 0.0], r"that sum to 1, got the sum 0.75"),
    "of fewer actions": ([0.5, 0.5], r"of shape \(3,\), got shape \(2,\)"),
    "a row too many": ([[0.5, 0.25, 0.25]], r"of shape \(3,\), got shape \(1, 3\)"),
}


class Turns:
    """Probabilities that are right for four rounds."""

    def __init__(self, bad):
        self.left, self.bad = 4, bad

    def action_probabilities(self, context):
        self.left -= 1
        return self.bad if self.left < 0 else np.full(K, 1 / K)


@pytest.mark.parametrize("case", BAD)
def test_record_names_the_round_of_a_policys_bad_probabilities(case):
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D)
    bad, message = BAD[case]
    with pytest.raises(ValueError, match=rf"^agent.action_probabilities must return .* {message} in round 4"):
        record(env, Turns(bad), num_rounds=9, learn=False)


@pytest.mark.parametrize("bad", [-0.5, 1.5, np.nan])
def test_record_names_the_round_of_an_agents_bad_probability(bad):
    class Own:
        left = 4

        def act_with_probability(self, context, mask=None):
            self.left -= 1
            return 2, bad if self.left < 0 else 1 / K

    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D)
    with pytest.raises(ValueError, match=rf"^agent.act_with_probability .* 0..1, got {bad} for action 2 in round 4"):
        record(env, Own(), num_rounds=9, learn=False)


def test_record_refuses_a_policy_that_plays_what_the_mask_forbids():
    class Masked(gym.Wrapper):
        def reset(self, **keywords):
            context, info = self.env.reset(**keywords)
            return context, {**info, "action_mask": np.array([1, 0, 1], dtype=np.int8)}

    env = Masked(gym.make("DiffusionBandit-v0", num_actions=K, dim=D))
    with pytest.raises(ValueError, match=r"masks forbid, got probability 0.333 for action 1 in round 0"):
        record(env, Turns(None), num_rounds=1, learn=False)


def test_replay_learns_the_rounds_that_it_matches():
    rng = np.random.default_rng(0)
    x, a = rng.uniform(-1, 1, (300, D)), rng.integers(K, size=300)
    log = BanditLog(x, a, rng.normal(size=300), np.full(300, 1 / K))
    problem = dts_gym.BanditProblem(K, D, PRIOR, dts_gym.GaussianReward())
    agent = dts_gym.make_agent("dTS", problem, seed=0)
    result = replay(log, agent)
    twin, matched = dts_gym.make_agent("dTS", problem, seed=0), []
    for i in range(300):
        if twin.act(x[i]) == a[i]:
            twin.update(x[i], int(a[i]), float(log.rewards[i]))
            matched.append(i)
    np.testing.assert_array_equal(result.rounds, matched)
    np.testing.assert_array_equal(result.rewards, log.rewards[matched])
    assert agent.num_updates == len(matched)
    with pytest.raises(ValueError, match="agent must be a fresh one"):
        replay(log, agent)
    assert replay(log, agent, warm_start=True).num_rounds == 300


@pytest.mark.parametrize("adapted", [True, False, None])
def test_replay_of_a_log_whose_policy_learned_is_told_once(adapted):
    problem = dts_gym.BanditProblem(K, D, PRIOR, dts_gym.GaussianReward())
    log = BanditLog(np.ones((30, D)), np.arange(30) % K, np.ones(30), np.full(30, 1 / K), adapted=adapted)
    for use in (lambda: replay(log, dts_gym.make_agent("LinTS", problem)), lambda: LoggedBanditEnv(log)):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            use()
        assert [str(each.message)[:40] for each in told] == ["the log's policy learned while it played"] * bool(adapted)
        assert all(each.filename == __file__ and each.category is OffPolicyWarning for each in told)


def test_a_log_of_random_actions_did_not_adapt():
    env = gym.make("DiffusionBandit-v0", num_actions=4, dim=2)
    log = record(env, dts_gym.make_agent("Random", env, seed=0), num_rounds=5)
    assert log.adapted is False


def test_thinning_makes_a_log_uniform():
    """20 000 rounds of probabilities .5, .3, .2: |z| < 4.5 of the actions' shares among the kept rounds."""
    rng = np.random.default_rng(0)
    p = np.array([0.5, 0.3, 0.2])
    a = rng.choice(K, size=20_000, p=p)
    log = BanditLog(np.ones((20_000, 1)), a, np.zeros(20_000), p[a], K)

    class Asked:
        num_updates, seen = 0, 0

        def act(self, context):
            self.seen += 1
            return 1

        def update(self, context, action, reward):
            pass

    agent = Asked()
    matched = len(replay(log, agent).rounds)
    z = (matched - agent.seen / 3) / math.sqrt(agent.seen * 2 / 9)
    assert abs(z) < 4.5
    assert abs(agent.seen - 12_000) < 4.5 * math.sqrt(12_000)


@pytest.mark.slow
def test_replay_of_dts_agrees_with_the_simulator():
    """60 logs of 2000 uniform rounds on 4 actions: mean rewards of the first 400 matches, |z| < 4.5."""
    differences = []
    for seed in range(60):
        env = gym.make("DiffusionBandit-v0", num_actions=4, dim=3, instance_seed=seed)
        rng, (context, _) = np.random.default_rng(seed), env.reset(seed=1000 + seed)
        rows = []
        for _ in range(2000):
            action = int(rng.integers(4))
            following, reward, *_ = env.step(action)
            rows.append((context, action, reward))
            context = following
        x, a, y = (np.array(part) for part in zip(*rows, strict=True))
        log = BanditLog(x, a, y, np.full(2000, 0.25))
        matched = replay(log, dts_gym.make_agent("dTS", env, seed=seed)).rewards[:400]
        played = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=seed), len(matched), seed=seed).rewards
        differences.append(matched.mean() - played.mean())
    z = np.mean(differences) / (np.std(differences, ddof=1) / math.sqrt(60))
    assert abs(z) < 4.5


@pytest.mark.parametrize("features", ["disjoint", "shared"])
def test_learning_warns_of_what_the_prior_does_not_expect(features):
    rng, n = np.random.default_rng(0), 60
    x = rng.normal(size=(n, D) if features == "disjoint" else (n, K, D))
    a, noise = rng.integers(K, size=n), rng.normal(size=n)

    def told(contexts, rewards, learner="sDM", rounds=slice(None)):
        log = BanditLog(contexts, a, rewards, np.full(n, 1 / K), K)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learn(log.rows(np.arange(n)[rounds]), learner, PRIOR if learner in ("sDM", "LCB") else None)
        assert all(w.category is OffPolicyWarning and w.filename == __file__ for w in caught)
        return [str(w.message).split(",")[0] for w in caught]

    zeros = ["the contexts of all rounds are zeros"]
    assert [told(0 * x, noise, learner) for learner in ("sDM", "LCB", "IPS")] == [zeros] * 3
    assert told(x, 100 + noise, "LCB") == ["the rewards are more than 5 standard deviations"]
    assert told(x, 0.01 * noise) == ["the rewards are less than a tenth"]
    assert told(x, noise) == told(x, 100 + noise, "IPS") == []
    assert told(x, 100 + noise, rounds=slice(19)) == []  # too few to say


@pytest.mark.parametrize("learner", ["IPS", "ES", "LS", "LS-LIN"])
def test_learners_warn_of_contexts_that_are_all_zeros(learner):
    log = BanditLog(np.zeros((40, 2)), np.arange(40) % 2, np.ones(40), np.full(40, 0.5), 2)
    with pytest.warns(OffPolicyWarning, match="contexts of all rounds are zeros"):
        learn(log, learner)
