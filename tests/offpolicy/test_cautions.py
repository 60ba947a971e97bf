"""Warnings of evaluate: each is told where it applies, and not where it does not."""

import warnings

import numpy as np

from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
from dts_gym.offpolicy import BanditLog, OffPolicyWarning, evaluate, learn

PRIOR = random_linear_prior(2, 2, seed=0)


def logged(n=600, K=3, noise=1.0, seed=0, p=None, **known):
    rng = np.random.default_rng(seed)
    x, theta = rng.uniform(-1, 1, (n, 2)), PRIOR.sample(rng, K)
    p = np.full(K, 1 / K) if p is None else np.asarray(p)
    a = rng.choice(K, size=n, p=p)
    return BanditLog(x, a, np.vecdot(theta[a], x) + noise * rng.normal(size=n), np.tile(p, (n, 1)), **known)


def told(log, policy, names, *args, **settings):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        table = evaluate(log, policy, names, *args, **settings)
    assert [str(each.message) for each in seen if each.category is OffPolicyWarning] == list(table.warnings)
    return " | ".join(table.warnings)


UNIFORM = np.full(3, 1 / 3)
ALL = ["IPS", "SNIPS", "CIPS", "ES", "DM", "sDM", "DR", "SNDR"]


def test_nothing_is_told_where_all_is_well():
    assert told(logged(), UNIFORM, ALL, PRIOR) == ""
    assert told(logged(), np.array([0.6, 0.2, 0.2]), ALL, PRIOR) == ""


def test_a_small_effective_sample_size_is_told_to_estimators_by_weights():
    log = logged(p=[0.94, 0.03, 0.03])
    assert "the effective sample size is" in told(log, np.array([0.0, 1.0, 0.0]), ["IPS"])
    assert told(log, np.array([0.0, 1.0, 0.0]), ["DM"]) == ""


def test_a_single_heavy_round_is_told():
    log = logged(n=2000)
    p = log.played_propensities.copy()
    p[0] = 1 / 390
    heavy = BanditLog(log.contexts, log.actions, log.rewards, p, 3)
    assert "one round has" in told(heavy, UNIFORM, ["IPS"])


def test_wrong_propensities_are_told_by_the_mean_weight():
    log = logged()
    wrong = BanditLog(log.contexts, log.actions, log.rewards, np.full(len(log), 0.5), 3)
    assert "the weights average 0.667 and not 1" in told(wrong, UNIFORM, ["IPS"])


def test_actions_that_the_log_could_not_play_are_told():
    log = logged(p=[0.5, 0.5, 0.0])
    assert "gives probability 0.333 to actions of propensity 0" in told(log, UNIFORM, ["IPS", "sDM"], PRIOR)


def test_a_policy_learned_on_the_log_is_told():
    log, other = logged(), logged(seed=1)
    policy = learn(log, "sDM", PRIOR)
    assert "the policy was learned on this log" in told(log, policy, ["IPS"])
    assert "learned on this log" not in told(other, policy, ["IPS"])
    assert "learned on this log" not in told(log, policy, ["sDM"], PRIOR)
    assert "learned on this log" in told(log, UNIFORM, ["IPS"], learned_on_log=True)


def test_an_agent_that_has_learned_is_told():
    log = logged(n=15)
    agent = make_agent("LinUCB", BanditProblem(3, 2, PRIOR, GaussianReward()), seed=0)
    assert "an agent that has learned" not in told(log, agent, ["IPS"])
    agent.update(log.contexts, log.actions, log.rewards)
    assert "an agent that has learned 15 rewards" in told(log, agent, ["IPS"])
    assert "an agent that has learned" not in told(log, agent, ["IPS"], learned_on_log=False)


def test_a_log_that_adapted_is_told():
    assert "the log's policy learned while it played" in told(logged(adapted=True), UNIFORM, ["DR"])
    assert told(logged(adapted=True), UNIFORM, ["DM"]) == ""
    assert told(logged(adapted=False), UNIFORM, ["DR"]) == ""


def test_estimates_apart_are_told_also_if_dr_was_not_asked_for():
    log = logged(n=3000, noise=0.2, reward=GaussianReward(0.2))
    shifted = BanditLog(log.contexts, log.actions, log.rewards + 2.0 * (log.actions == 0), log.propensities)
    away = told(shifted, np.array([1.0, 0.0, 0.0]), ["sDM"], PRIOR, noise_std=2.0)
    assert "standard deviations apart" in away
    assert "apart" not in told(log, np.array([1.0, 0.0, 0.0]), ["sDM"], PRIOR)


def test_a_noise_that_contradicts_the_residuals_is_told():
    log = logged(noise=0.2)
    assert "noise of deviation 1 is assumed, as none was told, but residuals have 0.2" in told(
        log, UNIFORM, ["sDM"], PRIOR
    )
    assert told(log, UNIFORM, ["sDM"], PRIOR, noise_std=0.2) == ""
    assert "residuals have" in told(log, UNIFORM, ["sDM"], PRIOR, noise_std=0.1)
    clicks = BanditLog(log.contexts, log.actions, (log.rewards > 0).astype(float), log.propensities)
    assert 'reward="bernoulli" says what they are' in told(clicks, UNIFORM, ["DM"])


def test_ix_without_a_range_has_no_interval():
    assert "IX has no interval" in told(logged(), UNIFORM, ["IX"])
