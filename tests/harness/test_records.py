"""Records survive a killed process, are resumed, and refuse damaged files and other experiments; the table."""

import csv
import importlib
import io
import json
import linecache
import os
import shlex
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dts_gym import DiffusionPrior, Link, random_linear_prior, registry
from dts_gym.agents import LinTS
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, RunRecord, kept_rounds, table
from dts_gym.harness.provenance import describe, differences
from dts_gym.harness.records import load_records, write_record
from dts_gym.utils.tables import plus_minus

ENV = "DiffusionBandit-v0"
ASKED = {"seeds": 3, "num_rounds": 30, "env_settings": {"num_actions": 6, "dim": 2}}
AGENTS = ["dTS", "LinTS:exploration=0.5"]


def assert_same(one, other):
    assert one.labels == other.labels
    for label in one.labels:
        np.testing.assert_array_equal(one.regret(label), other.regret(label))
        for a, b in zip(one.runs[label], other.runs[label], strict=True):
            assert (a.seed, a.env_seed, a.agent_seed, a.total_reward) == (
                b.seed, b.env_seed, b.agent_seed, b.total_reward)  # fmt: skip


def test_what_is_recorded_is_what_compare_gave(tmp_path):
    given_back = compare(ENV, AGENTS, **ASKED, out=tmp_path / "new" / "out")
    loaded = load_records(tmp_path / "new" / "out")
    assert_same(given_back, loaded)
    assert_same(compare(ENV, AGENTS, **ASKED), loaded)
    np.testing.assert_array_equal(given_back.microseconds_per_round("dTS"), loaded.microseconds_per_round("dTS"))
    np.testing.assert_array_equal(loaded.rounds, np.arange(1, 31))
    saved = json.loads((tmp_path / "new" / "out" / "experiment.json").read_text())
    assert saved["settings"]["env_settings"] == ASKED["env_settings"]
    assert saved["versions"]["numpy"] == np.__version__
    assert saved.keys() == {"format", "settings", "reported", "versions"}
    assert (tmp_path / "new" / "out" / "log" / "commands.txt").read_text() == shlex.join(sys.argv) + "\n"


def test_a_stopped_experiment_is_taken_up_where_it_stopped(tmp_path, stopped_after):
    out = tmp_path / "out"
    with stopped_after(3):
        compare(ENV, AGENTS, **ASKED, out=out)
    written = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert len(written) == 3
    (out / "runs" / ".dTS-seed-2.npz.x1y2.part").write_bytes(b"what a kill leaves")
    with pytest.warns(UserWarning, match="holds 1 of 3 seeds"):
        partial = load_records(out)
    assert partial.experiment.seeds == (0,)
    resumed = compare(ENV, AGENTS, **ASKED, out=out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list((out / "runs").iterdir())) == 6
    straight = compare(ENV, AGENTS, **ASKED)
    assert_same(straight, resumed)
    assert_same(straight, load_records(out))
    np.testing.assert_array_equal(partial.regret("dTS"), straight.regret("dTS")[:1])


def test_nothing_finished_is_nothing_to_load(tmp_path, stopped_after):
    with stopped_after(1):
        compare(ENV, AGENTS, **ASKED, out=tmp_path / "out")
    with pytest.raises(ValueError, match="a finished seed of every agent"):
        load_records(tmp_path / "out")


def test_resuming_nothing_is_a_start(tmp_path):
    assert_same(compare(ENV, AGENTS, **ASKED, out=tmp_path / "out", resume=True), compare(ENV, AGENTS, **ASKED))


def test_damaged_and_foreign_records_are_run_again_and_never_drawn(tmp_path):
    out = tmp_path / "out"
    straight = compare(ENV, AGENTS, **ASKED, out=out)
    whole, foreign = out / "runs" / "dTS-seed-1.npz", out / "runs" / "dTS-seed-2.npz"
    whole.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"dTS-seed-1\.npz"):
        load_records(out)
    foreign.write_bytes((out / "runs" / "dTS-seed-0.npz").read_bytes())
    with pytest.warns(UserWarning, match="running again") as warned:
        resumed = compare(ENV, AGENTS, **ASKED, out=out, resume=True)
    assert sum("running again" in str(warning.message) for warning in warned) == 2
    assert_same(straight, resumed)
    assert_same(straight, load_records(out))
    foreign.write_bytes((out / "runs" / "dTS-seed-0.npz").read_bytes())
    with pytest.raises(ValueError, match="must be a record of this experiment, got seed 0, not 2"):
        load_records(out)


def test_results_without_their_log_have_no_times_and_damaged_times_are_named(tmp_path):
    straight = compare(ENV, AGENTS, **ASKED, out=tmp_path)
    times = tmp_path / "log" / "dTS-seed-1.json"
    whole = times.read_bytes()
    for damage in (b"", b"{}", b'{"act_seconds": "x", "update_seconds": 1}', whole[:-3]):
        times.write_bytes(damage)
        with pytest.raises(ValueError, match=r"dTS-seed-1\.json' must hold the times of a run"):
            load_records(tmp_path)
    shutil.rmtree(tmp_path / "log")
    loaded = load_records(tmp_path)
    assert_same(straight, loaded)
    assert np.isnan(loaded.microseconds_per_round("dTS")).all()
    assert not np.isnan(straight.microseconds_per_round("dTS")).any()


def test_a_run_whose_record_is_there_has_its_times(tmp_path, monkeypatch):
    """The record ends a run: a kill between the two files must not leave one that counts and has no times."""
    seen = []

    def write_archive(path, arrays, settings):
        seen.append((tmp_path / "x" / "log" / f"{path.stem}.json").exists())

    monkeypatch.setattr("dts_gym.harness.records.write_archive", write_archive)
    for folder in ("log", "runs"):
        (tmp_path / "x" / folder).mkdir(parents=True)
    asked = Experiment(ENV, {}, (AgentSpec("LinTS", {}),), (0,), 30)
    rounds = kept_rounds(30)
    record = RunRecord(0, 1, 2, rounds, np.zeros(len(rounds)), 0.0, 0.1, 0.1)
    write_record(tmp_path / "x", asked, asked.agents[0], record)
    assert seen == [True]


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"new or empty folder.*holds 'notes.txt'"):
        compare(ENV, AGENTS, **ASKED, out=tmp_path)
    with pytest.raises(ValueError, match=r"got no experiment\.json"):
        compare(ENV, AGENTS, **ASKED, out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="must be a folder, got the file"):
        compare(ENV, AGENTS, **ASKED, out=tmp_path / "notes.txt")
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"num_rounds": 31}, "num_rounds = 30, asked for 31"),
        ({"env_settings": {"num_actions": 7, "dim": 2}}, r"env_settings\.num_actions = 6, asked for 7"),
        ({"redraw_prior": True}, "redraw_prior = False, asked for True"),
        ({"tune": True, "grid": [1]}, "tuning = None"),
    ],
)
def test_only_the_same_experiment_is_resumed(tmp_path, change, difference):
    compare(ENV, AGENTS, **ASKED, out=tmp_path)
    with pytest.raises(ValueError, match=difference):
        compare(ENV, **{"agents": AGENTS, **ASKED, **change}, out=tmp_path, resume=True)


@pytest.mark.parametrize("tuned", [{}, {"tune": True, "grid": [1, 0.5], "tuning_seeds": 2}], ids=["plain", "tuned"])
def test_a_resumed_experiment_may_have_other_seeds_and_agents(tmp_path, tuned, stopped_after):
    out, asked = tmp_path / "out", ASKED | tuned
    before = compare(ENV, AGENTS, **asked, out=out)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    grown = {**asked, "seeds": [5, *range(4)]}
    with stopped_after(1):
        compare(ENV, AGENTS, **grown, out=out, resume=True)
    with pytest.warns(UserWarning, match="holds 3 of 5 seeds"):
        assert_same(load_records(out), before)
    more = ["LinUCB", *AGENTS]
    resumed = compare(ENV, more, **grown, out=out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert_same(resumed, compare(ENV, more, **grown, out=tmp_path / "straight"))
    assert_same(resumed, load_records(out))
    for name in ("experiment.json", *(["tuning/experiment.json"] if tuned else [])):
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert_same(compare(ENV, AGENTS, **asked, out=out, resume=True), before)  # what is not asked for stays
    assert_same(load_records(out), before)
    assert_same(compare(ENV, more, **grown, out=out, resume=True), resumed)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")} == kept


def test_an_agent_that_fails_locks_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))

    class Late(LinTS):
        def _learn(self, context, action, reward):
            if self.num_updates == 20:
                raise RuntimeError("late")
            super()._learn(context, action, reward)

    registry.register_agent("Late", Late)
    before = compare(ENV, AGENTS, **ASKED, out=tmp_path)
    with pytest.raises(RuntimeError, match="late"):
        compare(ENV, [*AGENTS, "Late"], **ASKED, out=tmp_path, resume=True)
    assert_same(compare(ENV, AGENTS, **ASKED, out=tmp_path, resume=True), before)
    assert_same(load_records(tmp_path), before)


def test_other_versions_are_warned_of(tmp_path):
    compare(ENV, ["Random"], **ASKED, out=tmp_path)
    path = tmp_path / "experiment.json"
    path.write_text(path.read_text().replace(f'"numpy": "{np.__version__}"', '"numpy": "1.0"'))
    with pytest.warns(UserWarning, match=r"records of numpy 1\.0 with"):
        compare(ENV, ["Random"], **ASKED, out=tmp_path, resume=True)


def test_code_and_files_that_have_changed_are_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))
    monkeypatch.syspath_prepend(tmp_path)
    module, prior, out = tmp_path / "their_agents.py", tmp_path / "prior.safetensors", tmp_path / "out"

    def written(scale):
        module.write_text(
            "import dts_gym\nfrom dts_gym.agents import LinTS\n"
            f"class Theirs(LinTS):\n    scale = {scale}\n"
            "dts_gym.register_agent('Theirs', Theirs)\n"
        )
        linecache.clearcache()
        importlib.invalidate_caches()
        if "their_agents" in sys.modules:
            importlib.reload(sys.modules["their_agents"])

    written("1.0")
    random_linear_prior(2, 1, seed=0).save(prior)
    asked = {"num_rounds": 5, "env_settings": {"num_actions": 4, "prior": str(prior)}, "out": out}
    compare(ENV, ["their_agents:Theirs"], seeds=1, **asked)
    compare(
        ENV, ["their_agents:Theirs", "dTS"], seeds=2, **asked, resume=True
    )  # and no warning, which is an error here
    written("1.25")
    with pytest.warns(UserWarning, match="resuming records of agent their_agents:Theirs [0-9a-f]{16} with") as warned:
        compare(ENV, ["their_agents:Theirs", "dTS"], seeds=3, **asked, resume=True)
    assert len(warned) == 1
    random_linear_prior(2, 1, seed=1).save(prior)
    with pytest.warns(UserWarning, match="resuming records of") as warned:
        compare(ENV, ["their_agents:Theirs", "dTS"], seeds=3, **asked, resume=True)
    assert [str(one.message).split()[3] for one in warned] == ["agent", "file"]  # the first is not forgotten


def test_a_prior_that_cannot_be_saved_is_named_where_records_are_kept(tmp_path):
    class Own(Link):
        dim = 2

        def __call__(self, psi):
            return psi

        def jacobian(self, psi):
            return np.broadcast_to(np.eye(2), (*psi.shape, 2))

    prior = DiffusionPrior([Own()], [np.eye(2)] * 2)
    settings = {"num_actions": 4, "prior": prior}
    with pytest.raises(
        ValueError, match=r"env_settings\['prior'\] must be what can be saved where records are kept \(out"
    ):
        compare(ENV, ["LinTS"], seeds=1, num_rounds=5, env_settings=settings, out=tmp_path / "out")
    compare(ENV, ["LinTS"], seeds=1, num_rounds=5, env_settings=settings)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 2, "settings": {}}', '{"format": 1, "settings": {}}',
                                     '{"format": 1, "settings": {"seeds": 3}, "reported": []}'])  # fmt: skip
def test_a_damaged_description_is_a_value_error(tmp_path, content):
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(ValueError, match="must"):
        load_records(tmp_path)
    with pytest.raises(ValueError, match="must"):
        compare(ENV, AGENTS, **ASKED, out=tmp_path, resume=True)


def test_odd_labels_have_files_of_their_own(tmp_path):
    specs = [AgentSpec("Random", label=label) for label in ("a/b", "a b", "../x", "a-b", "ä", "..")]
    comparison = compare(ENV, specs, seeds=1, num_rounds=3, out=tmp_path / "out")
    assert len(os.listdir(tmp_path / "out" / "runs")) == len(specs)
    assert os.listdir(tmp_path) == ["out"]
    assert_same(comparison, load_records(tmp_path / "out"))


@given(st.integers(1, 10**7))
def test_a_kept_curve_is_short_rising_and_ends_at_the_end(num_rounds):
    rounds = kept_rounds(num_rounds)
    assert len(rounds) == min(num_rounds, 5000)
    assert rounds[-1] == num_rounds
    assert rounds[0] >= 1
    assert np.all(np.diff(rounds) >= num_rounds // 5000)
    assert np.all(np.diff(rounds) > 0)


def test_a_thinned_curve_keeps_the_right_rounds(tmp_path, monkeypatch):
    full = compare(ENV, ["LinTS"], **ASKED)
    monkeypatch.setattr("dts_gym.harness.experiment._MAX_POINTS", 7)
    thin = compare(ENV, ["LinTS"], **ASKED, out=tmp_path / "out")
    np.testing.assert_array_equal(thin.rounds, [4, 8, 12, 17, 21, 25, 30])
    np.testing.assert_array_equal(thin.regret("LinTS"), full.regret("LinTS")[:, thin.rounds - 1])
    assert_same(thin, load_records(tmp_path / "out"))


def test_settings_are_told_apart_by_content():
    one, other = np.zeros(3), np.array([0.0, 0.0, 1e-300])
    assert describe("x", {"p": one}) == describe("x", {"p": one.copy()})
    assert describe("x", {"p": one}) != describe("x", {"p": other})
    assert describe("x", {"p": one}) != describe("x", {"p": one.reshape(1, 3)})
    assert describe("x", (np.int64(3), None, "a")) == [3, None, "a"]
    json.dumps(describe("x", {"p": one}))
    with pytest.raises(ValueError, match="f'\\] must be plain data"):
        describe("x", {"f": lambda: 0})


def test_a_prior_of_ones_own_is_recorded(tmp_path):
    def settings(seed):
        return {"prior": random_linear_prior(2, 1, seed=seed), "num_actions": 4}

    asked = {"seeds": 1, "num_rounds": 5, "out": tmp_path / "out"}
    one = compare(ENV, ["dTS"], **asked, env_settings=settings(0))
    assert_same(one, load_records(tmp_path / "out"))
    compare(ENV, ["dTS"], **asked, env_settings=settings(0), resume=True)
    with pytest.raises(ValueError, match=r"with env_settings\.prior"):
        compare(ENV, ["dTS"], **asked, env_settings=settings(1), resume=True)


def test_differences_are_named():
    assert list(differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}], "c": 0})) == [("a[1].b", 2, 3), ("c", None, 0)]
    assert not list(differences({"a": [1]}, {"a": [1]}))


FINALS = np.array([[3.0, 5.0, 10.0], [1.5, 1.5, 1.5]])  # agents x seeds


def made_up(labels=("one", "a|b"), finals=FINALS):
    rounds = np.array([1, 2])
    runs = {
        label: tuple(RunRecord(s, 0, 0, rounds, np.array([0.5, y]), 0.0, 3e-6, 1e-6) for s, y in enumerate(ys))
        for label, ys in zip(labels, finals, strict=True)
    }
    specs = tuple(AgentSpec("Random", label=label) for label in labels)
    return Comparison(Experiment(ENV, {}, specs, tuple(range(len(finals[0]))), 2), runs)


def test_the_table_holds_means_and_standard_errors_in_the_order_given():
    rows = list(csv.DictReader(io.StringIO(table(made_up(), "csv"))))
    assert [row["agent"] for row in rows] == ["one", "a|b"]
    for row, finals in zip(rows, FINALS, strict=True):
        assert float(row["regret"]) == pytest.approx(np.mean(finals))
        error = np.sqrt(np.sum((finals - np.mean(finals)) ** 2) / 2 / 3)
        assert float(row["standard_error"]) == pytest.approx(error)
        assert float(row["microseconds_per_round"]) == pytest.approx(2.0)
        assert row["seeds"] == "3"
    assert table(made_up()) == (
        "agent   final regret   µs a round   seeds\n"
        "one        6.0 ± 2.1          2.0       3\n"
        "a|b        1.5 ± 0.0          2.0       3\n"
    )
    assert str(made_up()) == table(made_up())
    assert table(made_up(), "markdown").splitlines()[-1] == "| a\\|b | 1.5 ± 0.0 | 2.0 | 3 |"
    with pytest.raises(ValueError, match="style must be"):
        table(made_up(), "html")
    with pytest.raises(ValueError, match="label must be one of"):
        made_up().regret("two")


def test_one_run_has_no_standard_error():
    text = table(made_up(("one",), FINALS[:1, :1]))
    assert "3.0" in text
    assert "±" not in text
    assert "nan" in table(made_up(("one",), FINALS[:1, :1]), "csv")


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e5))
def test_two_digits_of_the_error_are_shown(mean, error):
    shown_mean, shown_error = map(float, plus_minus(mean, error).split(" ± "))
    assert abs(shown_error - error) <= max(0.05 * error, 0.5 if error >= 10 else 0)
    assert abs(shown_mean - mean) <= max(0.05 * error, 0.5 if error >= 10 else 0) + 1e-9
