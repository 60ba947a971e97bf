"""Warnings of evaluate: each is told where it applies, and not where it does not."""

import warnings

import numpy as np
import pytest

from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
from dts_gym.offpolicy import BanditLog, OffPolicyWarning, evaluate, learn
from dts_gym.offpolicy.terms import gather

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


def test_a_short_log_is_not_said_to_play_other_actions():
    assert "of 60 rounds: the log is short, and intervals" in told(logged(n=60), UNIFORM, ["IPS"])


def test_missing_propensities_are_told():
    log = logged()
    bare = BanditLog(log.contexts, log.actions, log.rewards, None, 3)
    assert "the log has no propensities: values rest on models alone" in told(bare, UNIFORM, ["DM"])


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


def softmax(scores):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def right_log(seed, n, K, every):
    """A log by 0.7 softmax plus 0.3 uniform, and a policy fixed beforehand, softmax or greedy on other parameters."""
    rng = np.random.default_rng(seed)
    x, own, other = rng.uniform(-1, 1, (n, 4)), 2 * rng.normal(size=(K, 4)), 2 * rng.normal(size=(K, 4))
    p = 0.7 * softmax(x @ own.T) + 0.3 / K
    a = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    log = BanditLog(x, a, rng.normal(size=n), p if every else p[np.arange(n), a], K)
    return log, softmax((1 if seed % 2 else 1e4) * x @ other.T)


@pytest.mark.parametrize("every", [True, False])
def test_right_logs_are_seldom_told_that_propensities_are_wrong(every):
    """200 logs in which the mean weight is often 0 or far from 1, as rounds of rare weights lack: 2 % at most."""
    found = 0
    for seed in range(200):
        log, policy = right_log(seed, 100, (3, 10, 100)[seed % 3], every)
        found += "the weights average" in told(log, policy, ["IPS"])
    assert found <= 4


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("wrong", ["uniform", "of another action", "half as large", "never"])
def test_wrong_propensities_are_always_told(wrong, every):
    """20 logs each of 1000 rounds; the policy is that of the log, or uniform."""
    for seed in range(20):
        log, _ = right_log(seed, 1000, 10, True)
        p, policy, text = log.propensities, log.propensities, "propensities are wrong"
        if wrong == "uniform":
            p = np.full(p.shape, 0.1)
        elif wrong == "of another action":
            p = np.roll(p, 1, axis=1)
        elif wrong == "half as large":
            if every:
                continue  # they do not sum to 1
            p = p / 2
        else:
            kept = log.rows(log.actions > 2)
            log, p, policy = kept, kept.propensities, np.full(10, 0.1)
            p = np.where(np.arange(10) > 2, p, 0.0)
            p = p / p.sum(axis=1, keepdims=True)
            text = "to actions of propensity 0" if every else "could not play or hardly did"
        given = p if every else p[np.arange(len(log)), log.actions]
        assert text in told(BanditLog(log.contexts, log.actions, log.rewards, given, 10), policy, ["IPS"])


def test_propensities_too_small_are_told_of_a_short_log():
    log, _ = right_log(0, 60, 3, True)
    halved = BanditLog(log.contexts, log.actions, log.rewards, log.played_propensities / 2, 3)
    assert "propensities are wrong" in told(halved, log.propensities, ["IPS"])


def test_the_error_of_the_mean_weight_is_that_over_actions_drawn_anew():
    log, policy = right_log(1, 50, 3, True)
    p = log.propensities
    expected = np.sqrt(sum((policy[i] ** 2 / p[i]).sum() - 1 for i in range(50))) / 50
    assert gather(log, policy, {}).weight_error == pytest.approx(expected, rel=1e-12)
    assert np.isnan(gather(BanditLog(log.contexts, log.actions, log.rewards, None, 3), policy, {}).weight_error)


def test_of_a_policy_learned_on_the_log_it_is_not_said_to_believe_dr():
    """20 logs of 50 actions: DR is too high by far for the policy that sDM learned, and sDM is right."""
    for seed in range(20):
        log = logged(300, 50, seed=seed, p=softmax(np.random.default_rng(seed).normal(size=(1, 50)))[0])
        policy = learn(log, "sDM", PRIOR)
        assert "apart" not in told(log, policy, ["sDM"], PRIOR, noise_std=1.0)


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
    assert "standard deviations apart: if the policy was not made from this log, believe DR" in away
    assert "if it was made from this log, DR is too high, and sDM is right if its prior is" in away
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


def test_a_policy_that_maximises_weights_of_its_log_is_no_sign_of_wrong_propensities():
    rng = np.random.default_rng(0)
    x, a = rng.uniform(-1, 1, (1000, 5)), rng.integers(50, size=1000)
    log = BanditLog(x, a, rng.standard_normal(1000), np.full(1000, 1 / 50), 50)
    policy = learn(log, "IPS")
    with pytest.warns(OffPolicyWarning) as told:
        evaluate(log, policy, ["IPS"])
    texts = [str(each.message) for each in told]
    assert any("learned on this log" in text for text in texts)
    assert not any("propensities are wrong" in text for text in texts)
