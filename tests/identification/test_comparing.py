"""Rules on the same instances: runs, pairs, records that resume, workers, and what is refused."""

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym.identification import Rule, load_identification
from dts_gym.identification.rules import RULES as RULES_BY_NAME

RULES = ["TopTwoTS", "SequentialHalving:recommend=mean", "PI-BAI-TS"]


def compared(**settings):
    asked = {"budgets": [12, 30], "seeds": 6, "env_settings": {"num_actions": 5}, "backend": "serial", **settings}
    return dts_gym.compare_identification("mab", asked.pop("rules", RULES), **asked)


def same(one, other):
    assert (one.labels, one.budgets, one.seeds) == (other.labels, other.budgets, other.seeds)
    for key, runs in one.runs.items():
        for first, second in zip(runs, other.runs[key], strict=True):
            np.testing.assert_array_equal(first, second)


def test_run_s_is_identify_of_seed_s():
    result = compared()
    for rule, label in zip(RULES, result.labels, strict=True):
        for seed in range(6):
            one = dts_gym.identify("mab", rule, budget=30, seed=seed, env_settings={"num_actions": 5})
            assert result.runs[label, 30].recommendations[seed] == one.recommendation
            assert result.simple_regret(label, 30)[seed] == one.simple_regret
            assert result.errors(label, 30)[seed] == 1 - one.is_best


def test_an_environments_instances_are_those_of_its_resets():
    context = (0.5, -1.0)
    settings = {"num_actions": 4, "dim": 2}
    result = dts_gym.compare_identification(
        "DiffusionBandit", ["TS"], budgets=20, seeds=3, env_settings=settings, context=context
    )
    for seed in range(3):
        env = gym.make("DiffusionBandit-v0", **settings)
        one = dts_gym.identify(env, "TS", budget=20, seed=seed, context=np.array(context))
        assert result.simple_regret("TS", 20)[seed] == pytest.approx(one.simple_regret)


def test_errors_are_of_the_same_instances_and_noise():
    """A rule beside itself under another label: no difference in any run."""
    rules = ["TS", dts_gym.identification.RuleSpec("TS", label="again")]
    result = compared(rules=rules)
    np.testing.assert_array_equal(result.errors("TS", 30), result.errors("again", 30))
    assert "0.000 (0.000, 0.000)" in str(result)


def test_records_resume_with_more_rules_budgets_and_seeds(tmp_path):
    whole = compared()
    compared(rules=RULES[:2], budgets=[30], seeds=3, out=tmp_path)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    resumed = compared(out=tmp_path, resume=True)
    same(whole, resumed)
    same(whole, load_identification(tmp_path))
    again = compared(out=tmp_path, resume=True)
    same(whole, again)
    assert len(stamps) == 2
    assert len(list((tmp_path / "runs").iterdir())) == 6


def test_workers_change_nothing(tmp_path):
    same(compared(), compared(backend="processes", num_workers=2, out=tmp_path))


def test_a_damaged_or_missing_record_is_told(tmp_path):
    compared(out=tmp_path)
    path = next((tmp_path / "runs").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ValueError, match=f"{path.name}.*delete the file and resume"):
        load_identification(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match="folder must hold all runs"):
        load_identification(tmp_path)
    with pytest.raises(ValueError, match="same problem to be resumed"):
        compared(out=tmp_path, resume=True, env_settings={"num_actions": 6})
    with pytest.raises(ValueError, match="out"):
        compared(out=tmp_path)
    with pytest.raises(ValueError, match="must be a folder of compared rules"):
        load_identification(tmp_path / "runs")


def test_tables_have_every_cell_and_frames_every_run():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    result = compared()
    lines = result.table("csv").splitlines()
    assert len(lines) == 1 + 2 * 3
    assert len(result.rows()[0]) == 5
    assert len(compared(rules=["TopTwoTS"]).rows()[0]) == 4, "of one rule there is no difference to show"
    frame = result.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 2 * 3 * 6
    mean = frame[(frame["rule"] == "TopTwoTS") & (frame["budget"] == 30)]["simple_regret"].mean()
    assert mean == pytest.approx(result.simple_regret("TopTwoTS", 30).mean())


def test_a_figure_has_a_line_for_every_rule():
    result = compared()
    axes = result.plot("simple regret")
    heights = [line.get_ydata() for line in axes.get_lines()]
    expected = [[result.simple_regret(label, n).mean() for n in (12, 30)] for label in result.labels]
    np.testing.assert_allclose(heights[: len(expected)], expected)


class Half(Rule):
    def choose(self, belief, streams):
        return belief.mean.argmax(axis=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rules": []}, "rules must be"),
        ({"rules": "TS"}, "rules must be a list"),
        ({"rules": ["TS", "TS"]}, "rules must be"),
        ({"rules": ["TopTwo"]}, "did you mean"),
        ({"rules": ["TopTwoTS:leader_share=2"]}, "leader_share"),
        ({"rules": [Rule]}, "rule must be a class that defines"),
        ({"budgets": []}, "budgets must be"),
        ({"budgets": [5, 5]}, "budgets must be"),
        ({"budgets": 3}, "budgets must be at least 5 for PI-BAI-TS with 5 actions, got 3"),
        ({"seeds": 0}, "seeds"),
        ({"env_settings": {"arms": 2}}, "settings must be arguments"),
        ({"context": [1.0]}, "context must be None"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        compared(**settings, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_rule_of_the_users_own_is_compared():
    result = compared(rules=[Half, "TS"], budgets=12)
    assert result.labels == ("Half", "TS")


def test_unless_named_the_rules_are_those_that_the_contexts_allow():
    changing = dts_gym.compare_identification(
        "DiffusionBandit-v0", budgets=4, seeds=1, env_settings={"num_actions": 3, "dim": 2}, backend="serial"
    )
    assert changing.labels == ("KnowledgeGradient", "TopTwoTS", "Uniform")
    assert set(changing.labels) < set(compared(rules=None, budgets=5, seeds=1).labels)


@pytest.mark.parametrize("context", [None, np.ones(4)])
def test_an_environment_with_actions_that_are_not_allowed_is_refused(context):
    env = gym.make("CatalogueBandit-v0", num_live=5, dim=4)
    with pytest.raises(ValueError, match="env must allow every action in every round"):
        dts_gym.identify(env, budget=5, context=context)


def test_an_id_is_the_environment_that_it_makes():
    settings = {"num_actions": 4, "dim": 2}
    of_id = dts_gym.identify("DiffusionBandit-v0", "TS", budget=10, context=[1.0, 0.5], env_settings=settings)
    made = dts_gym.identify(gym.make("DiffusionBandit-v0", **settings), "TS", budget=10, context=[1.0, 0.5])
    np.testing.assert_array_equal(of_id.counts, made.counts)
    assert of_id.simple_regret == made.simple_regret


@pytest.mark.parametrize(
    ("what", "near"), [("herarchical", "; did you mean hierarchical?"), ("DifusionBandit", "Did you mean")]
)
def test_an_unknown_name_is_answered_by_the_nearest(what, near):
    for asked in (
        lambda: dts_gym.identify(what, budget=5),
        lambda: dts_gym.compare_identification(what, ["TS"], budgets=5),
    ):
        with pytest.raises(ValueError, match=f"must be an environment or its id.*{what}.*") as told:
            asked()
        assert near in str(told.value)


class TwoColumns(Rule):
    def choose(self, belief, streams):
        return belief.mean.argmax(axis=1)[:, None]


class Beyond(Rule):
    def choose(self, belief, streams):
        return np.full(len(belief.mean), belief.mean.shape[1])


class NoNumber(Half):
    def recommend(self, belief, streams):
        return belief.mean.max(axis=1)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (TwoColumns, "TwoColumns.choose must return an array of 1 integers in 0..4"),
        (Beyond, "Beyond.choose must return an array of 1 integers in 0..4"),
        (NoNumber, "NoNumber.recommend must return an array of 1 integers in 0..4"),
    ],
)
def test_what_a_rule_of_the_users_own_returns_is_checked(rule, message):
    with pytest.raises(ValueError, match=message):
        dts_gym.identify("mab", rule, budget=5, env_settings={"num_actions": 5})


def test_errors_call_a_rule_by_its_id():
    for name, rule in RULES_BY_NAME.items():
        assert repr(rule()) == name
    with pytest.raises(ValueError, match="at least 5 for PI-BAI-TS"):
        dts_gym.identify("mab", "PI-BAI-TS", budget=2, env_settings={"num_actions": 5})


def test_an_environment_itself_is_no_place_to_compare_rules():
    with pytest.raises(ValueError, match="env_id_or_problem must be the id of an environment, which is made anew"):
        dts_gym.compare_identification(gym.make("DiffusionBandit-v0"), ["TS"], budgets=5)
