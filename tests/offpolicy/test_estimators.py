"""Every estimator against its definition, written out round by round; intervals against their formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from dts_gym import GaussianReward, random_linear_prior
from dts_gym.offpolicy import BanditLog, OffPolicyWarning, evaluate
from dts_gym.offpolicy.intervals import Mean, bernstein_interval, smoothed_interval
from dts_gym.offpolicy.reward_fits import fit_chain, independent_prior
from dts_gym.utils.seeding import stream

pytestmark = pytest.mark.filterwarnings("ignore::dts_gym.offpolicy.OffPolicyWarning")
N, K, D = 120, 4, 2
PRIOR = random_linear_prior(D, 2, seed=3)


def problem(seed=0, n=N, rewards="gaussian"):
    """A log, a policy's probabilities, and the mean reward of every action in every round."""
    rng = np.random.default_rng(seed)
    x, theta = rng.uniform(-1, 1, (n, D)), PRIOR.sample(rng, K)
    means = x @ theta.T if rewards == "gaussian" else 1 / (1 + np.exp(-x @ theta.T))
    p = 0.3 / K + 0.7 * rng.dirichlet(np.ones(K), n)
    a = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    mean = means[np.arange(n), a]
    y = mean + rng.normal(size=n) if rewards == "gaussian" else (rng.random(n) < mean).astype(float)
    return BanditLog(x, a, y, p, K), rng.dirichlet(np.ones(K), n), means


def rows(log, pi):
    for i in range(len(log)):
        a = log.actions[i]
        yield pi[i][a], log.propensities[i][a], log.rewards[i]


def average(values):
    values = list(values)
    return sum(values) / len(values)


DEFINITIONS = {
    "IPS": lambda log, pi: average(p / p0 * r for p, p0, r in rows(log, pi)),
    "CIPS": lambda log, pi: average(min(p / p0, 2.5) * r for p, p0, r in rows(log, pi)),
    "SNIPS": lambda log, pi: sum(p / p0 * r for p, p0, r in rows(log, pi)) / sum(p / p0 for p, p0, _ in rows(log, pi)),
    "ES": lambda log, pi: average(p / p0**0.6 * r for p, p0, r in rows(log, pi)),
    "IX": lambda log, pi: average(p / (p0 + 0.1 / 2) * r for p, p0, r in rows(log, pi)),
    "LS": lambda log, pi: average(math.log(1 + 0.1 * p / p0 * r) / 0.1 for p, p0, r in rows(log, pi)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_estimator_by_weights_is_its_definition(name):
    log, pi, _ = problem(rewards="bernoulli")
    table = evaluate(log, pi, [name], clip=2.5, alpha=0.6, lam=0.1, reward="bernoulli")
    assert abs(table[name].value - DEFINITIONS[name](log, pi)) < 1e-12
    weights = [p / p0 for p, p0, _ in rows(log, pi)]
    assert abs(table[name].effective_sample_size - sum(weights) ** 2 / sum(w * w for w in weights)) < 1e-9
    assert abs(table[name].max_weight - max(weights)) < 1e-12


def ridge(x, y):
    """Posterior mean under N(0, I) and noise 1."""
    return np.linalg.solve(np.eye(D) + x.T @ x, x.T @ y)


def test_the_direct_method_is_ridge_regression_an_action():
    log, pi, _ = problem()
    theta = np.array([ridge(log.contexts[log.actions == a], log.rewards[log.actions == a]) for a in range(K)])
    expected = average(sum(pi[i][a] * log.contexts[i] @ theta[a] for a in range(K)) for i in range(N))
    assert abs(evaluate(log, pi, ["DM"])["DM"].value - expected) < 1e-10


@pytest.mark.parametrize("name", ["DR", "SNDR"])
def test_doubly_robust_is_cross_fitted(name):
    log, pi, _ = problem()
    of = stream(0, "split").permutation(N) % 5
    value, correction, weights = 0.0, 0.0, 0.0
    for i in range(N):
        others = of != of[i]
        q = [
            log.contexts[i] @ ridge(log.contexts[others & (log.actions == a)], log.rewards[others & (log.actions == a)])
            for a in range(K)
        ]
        w = pi[i][log.actions[i]] / log.propensities[i][log.actions[i]]
        value += np.dot(pi[i], q) / N
        correction += w * (log.rewards[i] - q[log.actions[i]]) / N
        weights += w / N
    expected = value + (correction if name == "DR" else correction / weights)
    assert abs(evaluate(log, pi, [name])[name].value - expected) < 1e-10


def test_mips_weighs_groups_of_actions():
    log, pi, _ = problem()
    groups = [0, 1, 0, 1]
    expected = 0.0
    for i in range(N):
        same = [a for a in range(K) if groups[a] == groups[log.actions[i]]]
        expected += sum(pi[i][a] for a in same) / sum(log.propensities[i][a] for a in same) * log.rewards[i] / N
    features = np.array([[0.5, 1.0], [2.0, 0.0], [0.5, 1.0], [2.0, 0.0]])
    for given in (groups, features):
        assert abs(evaluate(log, pi, ["MIPS"], action_features=given)["MIPS"].value - expected) < 1e-12
    alone = evaluate(log, pi, ["MIPS", "IPS"], action_features=np.arange(K))
    assert abs(alone["MIPS"].value - alone["IPS"].value) < 1e-12
    with pytest.raises(ValueError, match="action_features must be given"):
        evaluate(log, pi, ["MIPS"])


def test_estimators_by_weights_are_unbiased():
    """Over 300 logs: |z| < 4.5 of three means has a false-alarm rate of 2e-5."""
    log, pi, means = problem(n=40)
    truth = float((pi * means).sum(axis=1).mean())
    rng = np.random.default_rng(1)
    names = ["IPS", "DR", "MIPS"]
    found = []
    for _ in range(300):
        a = (log.propensities.cumsum(axis=1) > rng.random((40, 1))).argmax(axis=1)
        again = BanditLog(log.contexts, a, means[np.arange(40), a] + rng.normal(size=40), log.propensities, K)
        table = evaluate(again, pi, names, action_features=np.arange(K))
        found.append([table[name].value for name in names])
    found = np.array(found) - truth
    assert (np.abs(found.mean(axis=0) / (found.std(axis=0, ddof=1) / math.sqrt(len(found)))) < 4.5).all()


@pytest.mark.parametrize("wrong", ["neither", "model", "propensities", "both"])
def test_doubly_robust_needs_one_of_two_models(wrong):
    """20 000 rounds: |z| < 4.5 where one model is right, and far off where both are wrong."""
    log, pi, means = problem(n=20_000)
    truth = float((pi * means).sum(axis=1).mean())
    propensities = log.propensities
    if wrong in ("propensities", "both"):
        skewed = log.propensities * np.array([3.0, 1.0, 0.5, 0.25])
        propensities = skewed / skewed.sum(axis=1, keepdims=True)
    rewards, shift = log.rewards, 0.0
    if wrong in ("model", "both"):  # without an intercept the model cannot follow
        shift = 3.0
        rewards = rewards + shift * (log.actions == 0)
        truth += shift * float(pi[:, 0].mean())
    found = evaluate(BanditLog(log.contexts, log.actions, rewards, propensities, K), pi, ["DR"])["DR"]
    z = (found.value - truth) / found.standard_error
    assert abs(z) > 8 if wrong == "both" else abs(z) < 4.5


def test_intervals_of_means_are_students_or_bernsteins():
    log, pi, _ = problem(rewards="bernoulli")
    terms = np.array([p / p0 * r for p, p0, r in rows(log, pi)])
    low, high = stats.t.interval(0.9, N - 1, terms.mean(), stats.sem(terms))
    found = evaluate(log, pi, ["IPS"], level=0.9)["IPS"]
    assert np.allclose([found.lower, found.upper], [low, high], atol=1e-12)
    clipped = np.minimum([p / p0 for p, p0, _ in rows(log, pi)], 3.0) * log.rewards
    found = evaluate(log, pi, ["CIPS"], interval="bernstein", reward="bernoulli", clip=3.0)["CIPS"]
    half = math.sqrt(2 * clipped.var(ddof=1) * math.log(4 / 0.05) / N) + 7 * 3 * math.log(4 / 0.05) / (3 * (N - 1))
    assert abs(found.upper - found.value - half) < 1e-12
    assert found.interval == "Bernstein"
    assert bernstein_interval(np.zeros(5), 0.95, 1.0)[1] == pytest.approx(7 * math.log(80) / 12)


def test_a_ratio_has_the_error_of_its_jackknife():
    rng = np.random.default_rng(0)
    w = rng.exponential(size=400)
    top, offset = w * rng.normal(1.0, 1.0, 400), rng.normal(size=400)
    each = [np.delete(offset, i).mean() + np.delete(top, i).sum() / np.delete(w, i).sum() for i in range(400)]
    jackknife = math.sqrt(399 / 400 * ((np.array(each) - np.mean(each)) ** 2).sum())
    assert Mean(top, offset, w).standard_error() == pytest.approx(jackknife, rel=0.02)


def test_the_bootstrap_agrees_with_students_interval_on_many_rounds():
    log, pi, _ = problem(n=3000)
    t = evaluate(log, pi, ["SNIPS", "DR"])
    resampled = evaluate(log, pi, ["SNIPS", "DR"], interval="bootstrap")
    for name in ("SNIPS", "DR"):
        width = t[name].upper - t[name].lower
        assert abs(resampled[name].lower - t[name].lower) < 0.12 * width
        assert abs(resampled[name].upper - t[name].upper) < 0.12 * width


def test_bounds_of_smoothing_are_the_published_ones():
    log, pi, _ = problem(rewards="bernoulli")
    w, r, lam = np.array([p / p0 for p, p0, _ in rows(log, pi)]), log.rewards, 0.2
    smoothed = np.mean(np.log(1 + lam * w * r)) / lam
    one = evaluate(log, pi, ["LS"], lam=lam)["LS"]
    slack = math.log(1 / 0.05) / (lam * N)
    assert (one.upper, one.interval) == (math.inf, "LS bound")
    assert one.lower == pytest.approx((math.exp(lam * (smoothed - slack)) - 1) / lam)
    both = evaluate(log, pi, ["LS", "IX"], lam=lam, reward_range=(0, 1))
    slack = math.log(1 / 0.025) / (lam * N)
    mirrored = np.mean(np.log(1 + lam * w * (1 - r))) / lam
    assert both["LS"].lower == pytest.approx((math.exp(lam * (smoothed - slack)) - 1) / lam)
    assert both["LS"].upper == pytest.approx(1 - (math.exp(lam * (mirrored - slack)) - 1) / lam)
    ix = np.array([p / (p0 + lam / 2) for p, p0, _ in rows(log, pi)])
    assert both["IX"].lower == pytest.approx(np.mean(ix * r) - slack)
    assert both["IX"].upper == pytest.approx(1 - (np.mean(ix * (1 - r)) - slack))


def test_the_bounds_of_ls_hold_on_small_logs():
    """2000 logs of 50 rounds, one-sided at 80 %: more than 24.5 % misses has a probability below 1e-6."""
    rng = np.random.default_rng(0)
    p0, pi, mean = np.array([0.8, 0.15, 0.05]), np.array([0.1, 0.3, 0.6]), np.array([0.2, 0.5, 0.7])
    missed = 0
    for _ in range(2000):
        a = rng.choice(3, size=50, p=p0)
        r = (rng.random(50) < mean[a]).astype(float)
        missed += smoothed_interval(pi[a] / p0[a], r, 0.15, 0.8, upper=False)[1] > pi @ mean
    assert missed < 0.245 * 2000


def test_a_policy_may_be_an_object_that_is_asked_in_blocks(monkeypatch):
    from dts_gym.offpolicy import policies

    log, pi, _ = problem()
    asked = []

    class Table:
        def action_probabilities(self, contexts):
            asked.append(len(contexts))
            at = [int(np.flatnonzero((log.contexts == x).all(axis=1))[0]) for x in contexts]
            return pi[at]

    whole = evaluate(log, pi, ["IPS", "DM", "DR", "sDM"], PRIOR)
    blocks = policies.block_slices
    monkeypatch.setattr(policies, "block_slices", lambda n, width: blocks(n, (1 << 22) // 13))
    parts = evaluate(log, Table(), ["IPS", "DM", "DR", "sDM"], PRIOR)
    assert asked == [13] * 9 + [3]
    for name in whole:
        assert parts[name].value == pytest.approx(whole[name].value, abs=1e-12)
        assert parts[name].lower == pytest.approx(whole[name].lower, abs=1e-12)


def test_a_constant_policy_is_one_row():
    log, _, _ = problem()
    one = evaluate(log, np.full(K, 1 / K), ["IPS"])["IPS"].value
    assert one == evaluate(log, np.full((N, K), 1 / K), ["IPS"])["IPS"].value


def test_masks_reach_a_policy_that_accepts_them():
    log, _, _ = problem()
    masks = np.ones((N, K), bool)
    masks[:, 0] = log.actions == 0
    p = np.where(masks, log.propensities, 0)
    masked = BanditLog(log.contexts, log.actions, log.rewards, p / p.sum(axis=1, keepdims=True), K, masks)

    class Uniform:
        def action_probabilities(self, contexts, mask):
            return mask / mask.sum(axis=1, keepdims=True)

    found = evaluate(masked, Uniform(), ["IPS"])["IPS"].value
    by_hand = average(
        r / m.sum() / q[a]
        for r, m, q, a in zip(masked.rewards, masks, masked.propensities, masked.actions, strict=True)
    )
    assert found == pytest.approx(by_hand)
    with pytest.raises(ValueError, match=r"must not play what masks forbid, got probability 0.25 for action"):
        evaluate(masked, np.full(K, 1 / K), ["IPS"])


REFUSED = {
    "a name": (dict(estimators=["sdm"]), "did you mean sDM"),
    "no name": (dict(estimators=[]), "estimators must be some of"),
    "no prior": (dict(estimators=["sDM"]), "prior must be given for sDM"),
    "a prior of another size": (dict(estimators=["sDM"], prior=random_linear_prior(3, 1)), "prior must have dim 2"),
    "rewards below 0": (dict(estimators=["LS"]), "rewards must not be negative for LS"),
    "a level": (dict(estimators=["IPS"], level=1.0), "level must be"),
    "no range": (dict(estimators=["IPS"], interval="bernstein"), "reward_range must be given"),
    "a weight above the largest": (
        dict(estimators=["IPS"], interval="bernstein", reward_range=(-99, 99), max_weight=1e-3),
        "max_weight must be at least the log's largest",
    ),
    "a wrong range": (dict(estimators=["IPS"], reward_range=(0, 1)), "reward_range must hold the log's rewards"),
    "another family": (dict(estimators=["IPS"], reward="bernoulli"), "reward must be 0 or 1"),
    "a policy of another size": (
        dict(policy=np.full((N, 3), 1 / 3)),
        r"must return probabilities of shape \(120, 4\)",
    ),
    "no probabilities": (dict(policy=np.full((N, K), 0.5)), "policy must return probabilities that sum to 1"),
    "a word": (dict(policy="uniform"), "policy must have action_probabilities"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_words(case):
    log, pi, _ = problem()
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        evaluate(log, **{"policy": pi, "estimators": ["IPS"], **given})


def test_missing_and_zero_propensities_are_refused():
    log, pi, _ = problem()
    bare = BanditLog(log.contexts, log.actions, log.rewards, num_actions=K)
    with pytest.raises(ValueError, match=r"propensities must be in the log for IPS, DR, got none"):
        evaluate(bare, pi, ["IPS", "DM", "DR"])
    assert math.isnan(evaluate(bare, pi, ["DM"])["DM"].effective_sample_size)
    zero = log.played_propensities.copy()
    zero[[5, 9]] = 0
    holed = BanditLog(log.contexts, log.actions, log.rewards, zero, K)
    with pytest.raises(ValueError, match="got 0 in 2 rounds, the first is round 5"):
        evaluate(holed, pi, ["IPS"])
    assert "propensity 0" in evaluate(holed, pi, ["DM"]).warnings[0]
    with pytest.raises(ValueError, match="for MIPS, got the played action's alone"):
        evaluate(BanditLog(log.contexts, log.actions, log.rewards, zero + 0.1, K), pi, ["MIPS"])


def test_the_table_prints_and_becomes_a_frame_and_a_figure(tmp_path):
    log, pi, _ = problem(rewards="bernoulli")
    with pytest.warns(OffPolicyWarning, match="effective sample size"):
        table = evaluate(log.rows(slice(30)), pi[:30], ["IPS", "LS", "sDM"], PRIOR, reward="bernoulli")
    text = str(table)
    assert "sDM †" in text
    assert "warning: the effective sample size" in text
    assert "<table>" in table._repr_html_()
    assert list(table) == ["IPS", "LS", "sDM"]
    assert len(table) == 3
    pandas = pytest.importorskip("pandas")
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.loc[0, "value"] == table["IPS"].value
    table.figure(tmp_path / "table.png", truth=0.5)
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_models_are_the_agents_posteriors():
    """The model that evaluation fits has the means of LinTS, whose prior is that of DM."""
    from dts_gym import BanditProblem, make_agent

    log, _, _ = problem()
    agent = make_agent("LinTS", BanditProblem(K, D, PRIOR, GaussianReward()), seed=0)
    agent.update(log.contexts, log.actions, log.rewards)
    fit = fit_chain(log, independent_prior(D), GaussianReward())
    np.testing.assert_allclose(fit.mean_rewards(log.contexts[:5]), agent.marginals(log.contexts[:5])[0], atol=1e-10)
    np.testing.assert_allclose(fit.score_moments(log.contexts[:5])[1], agent.marginals(log.contexts[:5])[1], atol=1e-10)


def test_without_names_the_estimators_are_those_that_the_log_allows():
    log, pi, _ = problem()
    assert set(evaluate(log, pi).estimates) == {"IPS", "SNIPS", "DM", "DR"}
    assert "sDM" in evaluate(log, pi, prior=PRIOR).estimates
    bare = BanditLog(log.contexts, log.actions, log.rewards, None, K)
    assert set(evaluate(bare, pi).estimates) == {"DM"}
