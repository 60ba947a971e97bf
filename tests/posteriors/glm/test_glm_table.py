"""The table of played actions under generalised linear rewards: against fits from nothing and exact sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dts_gym.posteriors.glm import glm_table
from dts_gym.posteriors.glm.expansion import expand
from dts_gym.posteriors.glm.glm_table import GLMTable
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward
from glm_truth import map_estimate, mle_estimate

FAMILIES = {"gaussian": GaussianReward(0.5), "bernoulli": BernoulliReward(), "poisson": PoissonReward()}
MODES = ["map", "mle", "online"]
MEAN, COV = np.array([0.2, -0.3]), np.array([[1.0, 0.4], [0.4, 0.6]])


def rounds(model, n=80, num_actions=4, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((num_actions, 2))
    for _ in range(n):
        action, x = int(rng.integers(num_actions)), rng.uniform(-1, 1, 2)
        yield action, x, float(model.sample(rng, np.array(x @ theta[action])))


def filled(model, mode, n=80, seed=0):
    table, history = GLMTable(model, 2, mode), {}
    for action, x, y in rounds(model, n, seed=seed):
        table.observe(action, x, y, MEAN, COV)
        X, Y = history.setdefault(action, ([], []))
        X.append(x)
        Y.append(y)
    return table, history


@pytest.mark.parametrize("mode", MODES)
def test_gaussian_evidence_is_the_exact_sum_in_every_mode(mode):
    table, history = filled(FAMILIES["gaussian"], mode)
    G, h = table.evidence()
    for slot, (X, y) in enumerate(history.values()):
        np.testing.assert_allclose(G[slot], 4 * np.einsum("ni,nj->ij", X, X), rtol=1e-11)
        np.testing.assert_allclose(h[slot], 4 * np.einsum("ni,n->i", X, y), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_the_fit_from_nothing_to_all_its_rewards(family):
    model = FAMILIES[family]
    maps, mles = filled(model, "map")[0], filled(model, "mle")[0]
    assert maps.actions.tolist() == list(maps.slots) == list(filled(model, "map")[1])
    for slot, (X, y) in enumerate(filled(model, "map")[1].values()):
        point = map_estimate(model, X, y, MEAN, COV)
        np.testing.assert_allclose(maps.points[slot], point, rtol=1e-7, atol=1e-8)
        G, h = expand(model, np.array(X), np.array(y), point)
        posterior = np.linalg.inv(np.linalg.inv(COV) + G)
        for x in X:  # the mean beside the mode, term by term
            bend = (model.derivative(x @ point + 1e-5) - model.derivative(x @ point - 1e-5)) / 2e-5
            h = h - 0.5 * bend * (x @ posterior @ x) * x / model.dispersion
        np.testing.assert_allclose(maps.evidence().G[slot], G, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(maps.evidence().h[slot], h, rtol=1e-5, atol=1e-6)
        mean = posterior @ (np.linalg.solve(COV, MEAN) + h)
        np.testing.assert_allclose(maps.means[slot], mean, rtol=1e-5, atol=1e-6)
        fit = mle_estimate(model, X, y)
        np.testing.assert_allclose(mles.points[slot], fit.point, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(mles.evidence().G[slot], fit.precision, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", MODES)
def test_only_the_played_action_changes_and_its_evidence_comes_back(mode):
    table, _ = filled(BernoulliReward(), mode)
    before = [part.copy() for part in table.evidence()]
    new = table.observe(2, [0.5, 0.5], 1.0, MEAN + 1, 2 * COV)
    slot = table.slots[2]
    for old, now, row in zip(before, table.evidence(), new, strict=True):
        others = np.arange(len(table)) != slot
        np.testing.assert_array_equal(old[others], now[others])
        np.testing.assert_array_equal(now[slot], row)
        assert (old[slot] != now[slot]).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_online_is_map_until_its_sites_are_merged(family):
    online, full = GLMTable(FAMILIES[family], 2, "online"), GLMTable(FAMILIES[family], 2, "map")
    for t, (action, x, y) in enumerate(rounds(FAMILIES[family], 400, num_actions=1)):
        ours, theirs = (table.observe(action, x, y, MEAN, COV) for table in (online, full))
        if t < 256:
            for mine, its in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(mine, its)
    assert online.state()["lengths"].tolist() == [144]  # merged twice
    np.testing.assert_allclose(online.points, full.points, atol=0.01)  # a tenth of a posterior deviation


@pytest.mark.parametrize("mode", MODES)
def test_all_modes_keep_few_rewards_as_they_are(mode):
    state = filled(PoissonReward(), mode, n=80)[0].state()
    assert state["contexts"].shape == (80, 2)
    assert state["lengths"].sum() == len(state["rewards"]) == 80
    assert (state["counts"] == 1).all()
    assert not state["rest.G"].any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("played", [0, 1, 50, 400])
def test_a_restored_table_goes_on_bit_for_bit(mode, family, played, monkeypatch):
    model = FAMILIES[family]
    monkeypatch.setattr(glm_table, "_MOST_SITES", {"map": 64, "online": 32})
    table, again = filled(model, mode, played)[0], GLMTable(model, 2, mode)
    state = table.state()
    assert bool(state["rest.G"].any()) == (played == 400 and mode != "mle")
    again.restore(state)
    for action, x, y in rounds(model, 60, num_actions=30, seed=9):
        ours, theirs = (t.observe(action, x, y, MEAN, COV) for t in (table, again))
        for mine, its in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, its)
    for name, array in table.state().items():
        np.testing.assert_array_equal(array, again.state()[name])
    assert table.slots == again.slots
    assert len(state["actions"]) <= 4  # a copy, not the table's own


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"action": -1}, "action must be an integer >= 0, got -1"),
        ({"context": [1.0]}, r"context must have shape \(2,\)"),
        ({"context": [1.0, np.nan]}, "context must be finite"),
        ({"context": [1e308, 1e308]}, "must have finite products"),
        ({"context": [3e7, 0.0]}, r"context must give x' theta a prior standard deviation of at most 1e\+07, got 3"),
        ({"cov": 1e15 * np.eye(2)}, r"prior standard deviation of at most 1e\+07, got 3.54e\+07 for \[1.  0.5\]"),
        ({"reward": 0.5}, "reward must be 0 or 1, got 0.5"),
        ({"mean": [0.0]}, r"mean must have shape \(2,\)"),
        ({"mean": None}, "mean must have shape"),
        ({"cov": -np.eye(2)}, "cov must be positive semi-definite"),
        ({"cov": None}, "cov must have shape"),
    ],
)
@pytest.mark.parametrize("action", [0, 77])
@pytest.mark.parametrize("mode", ["map", "online"])
def test_a_refused_reward_leaves_the_table_as_it_was(change, match, action, mode):
    table, untouched = filled(BernoulliReward(), mode)[0], filled(BernoulliReward(), mode)[0]
    good = {"action": action, "context": [1.0, 0.5], "reward": 1.0, "mean": MEAN, "cov": COV}
    with pytest.raises(ValueError, match=match):
        table.observe(**good | change)
    for each in (table, untouched):
        each.observe(**good)
    for name, array in table.state().items():
        np.testing.assert_array_equal(array, untouched.state()[name])


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"mode must be one of .* got 'mean'"):
        GLMTable(BernoulliReward(), 2, "mean")
    with pytest.raises(ValueError, match="model must be a dts_gym RewardModel"):
        GLMTable("bernoulli", 2)
    with pytest.raises(ValueError, match="dim must be an integer >= 1, got 0"):
        GLMTable(BernoulliReward(), 0)
    with pytest.raises(ValueError, match="ridge must be a positive finite number"):
        GLMTable(BernoulliReward(), 2, "mle", ridge=-1)


@settings(deadline=None, max_examples=60)
@given(
    mode=st.sampled_from(MODES),
    family=st.sampled_from(["bernoulli", "poisson"]),
    scale=st.integers(-3, 3),
    width=st.integers(-2, 2),
    singular=st.booleans(),
    count=st.sampled_from([1.0, 0.0, 1e6]),
    seed=st.integers(0, 2**20),
)
def test_any_rewards_leave_finite_evidence(mode, family, scale, width, singular, count, seed):
    rng = np.random.default_rng(seed)
    table = GLMTable(FAMILIES[family], 2, mode)
    cov = 10.0**width * (np.ones((2, 2)) if singular else np.eye(2))
    for _ in range(12):
        y = float(rng.integers(2)) if family == "bernoulli" else float(rng.choice([0.0, count]))
        G, h = table.observe(0, 10.0**scale * rng.uniform(-1, 1, 2), y, rng.standard_normal(2), cov)
        assert np.isfinite(h).all()
        assert np.linalg.eigvalsh(G)[0] >= -1e-12 * np.abs(G).max()
    assert np.isfinite(table.points).all()
