"""Tuning grids that grow: agents whose regret is a known function of their exploration scale."""

import csv
import io
import json
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import dts_gym
from dts_gym import registry
from dts_gym.cli.entry import main
from dts_gym.harness import figures
from dts_gym.harness import tuning as tuning_module
from dts_gym.harness.brackets import MOST, end_of, next_scales
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import AgentSpec, base_label, table
from dts_gym.harness.explorations import exploration_of, with_tuned
from dts_gym.harness.records import load_records
from dts_gym.harness.sweeps import Sweep, run_sweep
from dts_gym.harness.tuning import GRID, choose, tune, tuning_table

ENV = "Ladder-v0"
STEPS = 5000
SMALLEST = "least regret at exploration 0.00195, the smallest tried: the best may be smaller"


class Ladder(gym.Env):
    """Action a has the regret a, in every round."""

    observation_space, action_space = Box(-1, 1, (1,), np.float64), Discrete(STEPS)

    def __init__(self, level=0):
        self.level = level

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action):
        return np.zeros(1), -float(action), False, False, {"regret": float(action + self.level)}


class Dial:
    """Has regret 100 |log2(exploration / best)| in every round, and not less than ``floor``."""

    num_updates = 0

    def __init__(self, exploration=1.0, best=0.6, floor=0):
        self.action = max(floor, round(100 * abs(math.log2(exploration / best))))

    @classmethod
    def from_env(cls, env, seed=None, **settings):
        return cls(**settings)

    def act(self, context):
        return self.action

    def update(self, context, action, reward):
        pass


class Ruled(Dial):
    """Explores by a rule unless a scale is set."""

    def __init__(self, exploration=None, best=0.6):
        super().__init__(exploration if isinstance(exploration, float) else 1.0, best)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))
    dts_gym.register_agent("Dial", Dial)
    dts_gym.register_agent("Ruled", Ruled)
    gym.register(ENV, entry_point=Ladder)
    yield
    gym.registry.pop(ENV)


def dial(best, label="Dial", **settings):
    return AgentSpec("Dial", {"best": best, **settings}, label)


def tuned(*agents, **asked):
    return tune(ENV, agents, **{"seeds": 2, "num_rounds": 3, **asked})


def held(folder):
    """Everything in a folder of records but its log."""
    files = (path for path in folder.rglob("*") if path.is_file() and "log" not in path.relative_to(folder).parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("best", [0.9, 0.6, 0.3, 0.11, 0.02, 0.004, 1.3, 9.0, 150.0])
def test_the_best_is_found_to_a_factor_of_sqrt_2_wherever_it_lies(best):
    result = tuned(dial(best))
    tried = sorted(result.regret["Dial"])
    found = result.best["Dial"]
    assert 1 / 1.42 < found / best < 1.42
    assert tried[0] < found < tried[-1]
    assert result.ends == {}
    assert "†" not in tuning_table(result)
    # Three of the grid, halvings or doublings until one is worse, and two midpoints.
    nearest = round(math.log2(best))
    assert len(tried) == 3 + max(-1 - nearest, nearest + 1, 0) + 2
    assert {len(regret) for regret in result.regret["Dial"].values()} == {2}


def test_each_agent_has_its_own_scales_and_blanks_elsewhere():
    result = tuned(dial(0.5, "inner"), dial(0.1, "small"), dial(2.1, "large"), "Random")
    assert list(result.regret["inner"]) == [1.0, 0.707, 0.5, 0.354, 0.25]
    assert list(result.regret["small"]) == [1.0, 0.5, 0.25, 0.177, 0.125, 0.0884, 0.0625]
    assert list(result.regret["large"]) == [4.0, 2.83, 2.0, 1.41, 1.0, 0.5, 0.25]
    assert result.best == {"inner": 0.5, "small": 0.0884, "large": 2.0}
    lines = tuning_table(result).splitlines()
    scales = sorted({scale for points in result.regret.values() for scale in points}, reverse=True)
    assert lines[0].split() == ["exploration", *(f"{scale:g}" for scale in scales)]
    assert [line.count("±") for line in lines[1:]] == [5, 7, 7]
    assert lines[1].split()[1] == "300.0"  # under 1, not under 4
    assert lines[1].index("300.0") > lines[0].index("1.41")
    rows = list(csv.DictReader(io.StringIO(tuning_table(result, "csv"))))
    assert [float(row["exploration"]) for row in rows if row["agent"] == "small"] == list(result.regret["small"])
    assert [float(row["exploration"]) for row in rows if row["best"] == "1"] == list(result.best.values())
    assert {row["scale_end"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("best", "ends"), [(1e-9, (0.00195, "smallest")), (1e9, (256.0, "largest"))], ids=["below", "above"]
)
def test_a_search_that_stops_at_its_bound_says_so_wherever_the_scale_is_quoted(best, ends, tmp_path, monkeypatch):
    scale, side = ends
    made = compare(
        ENV, [dial(best), dial(0.5, "inner")], tune=True, tuning_seeds=2, seeds=2, num_rounds=3, out=tmp_path / "a"
    )
    result = choose(made.tuning)
    assert result.best == {"Dial": scale, "inner": 0.5}
    assert len(result.regret["Dial"]) <= len(GRID) + MOST
    beyond = "smaller" if side == "smallest" else "larger"
    text = f"Dial: least regret at exploration {scale:g}, the {side} tried: the best may be {beyond}"
    for comparison in (made, load_records(tmp_path / "a")):
        label = f"Dial (exploration {scale:g})"
        for style in ("text", "markdown"):
            lines = table(comparison, style).splitlines()
            assert lines[-2:] == ["", f"† {text}"]
            assert [line.strip("| ").startswith(f"{label} †") for line in lines].count(True) == 1
            assert sum("†" in line for line in lines) == 2
            assert tuning_table(choose(comparison.tuning), style).splitlines()[-1] == f"† {text}"
        rows = {row["agent"]: row["scale_end"] for row in csv.DictReader(io.StringIO(table(comparison, "csv")))}
        assert rows == {"Dial": "", label: side, "inner": "", "inner (exploration 0.5)": ""}
        rows = csv.DictReader(io.StringIO(tuning_table(choose(comparison.tuning), "csv")))
        assert {(row["agent"], row["scale_end"]) for row in rows} == {("Dial", side), ("inner", "")}
    drawn, notes = [], []
    monkeypatch.setattr(figures, "label_ends", lambda axes, ends: drawn.extend(name for _, name, _ in ends))
    monkeypatch.setattr(figures, "_finish", lambda *_: notes.append(_[4]))
    figures.regret_figure(made, tmp_path / "x.png")
    assert [name.partition(":")[0] for name in drawn if "†" in name] == [f"Dial (exploration {scale:g}) †"]
    assert notes == [figures.END_NOTE]
    figures.regret_figure(compare(ENV, [dial(0.5)], seeds=1, num_rounds=3), tmp_path / "x.png")
    assert notes == [figures.END_NOTE, ""]


def test_sweeps_mark_ends_in_their_table_and_summary(tmp_path):
    sweep = Sweep([{"id": ENV, "level": [0, 1]}], [dial(1e-9)], seeds=2, rounds=3, tune=True, tuning_seeds=1)
    result = run_sweep(sweep, out=tmp_path)
    lines = str(result).splitlines()
    assert ["Dial (exploration 0.00195) †" in line for line in lines[1:5]] == [False, True, False, True]
    assert lines[5:] == ["", *(f"† {ENV} (level {level}), Dial: {SMALLEST}" for level in (0, 1))]
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [row["scale_end"] for row in rows] == ["", "smallest", "", "smallest"]
    fixed = Sweep([{"id": ENV}], [dial(1e-9)], seeds=2, rounds=3, tune=True, tuning_seeds=1, bracket=False)
    (comparison,) = run_sweep(fixed).cells.values()
    assert list(choose(comparison.tuning).regret["Dial"]) == [1.0, 0.5, 0.25]


def test_an_agent_best_at_its_own_scale_is_marked_itself():
    made = compare(ENV, [dial(1.0)], tune=True, tuning_seeds=1, seeds=1, num_rounds=3, bracket=False)
    assert made.labels == ["Dial"]
    assert made.ends["Dial"].side == "largest"
    assert "Dial †" in table(made)


def test_ties_count_as_inside_between_worse_scales_and_plateaus_are_followed_once():
    first = (1.0, 0.5, 0.25)
    assert next_scales({1.0: 5, 0.5: 3, 0.25: 3, 0.125: 4}, first) == (0.354, 0.707)
    assert end_of({1.0: 5, 0.5: 3, 0.25: 3, 0.125: 4}) is None
    # The end ties with its neighbour: one more. That ties too: a factor of 4, enough.
    assert next_scales({1.0: 5, 0.5: 3, 0.25: 3}, first) == (0.125,)
    level = {1.0: 5, 0.5: 3, 0.25: 3, 0.125: 3}
    assert next_scales(level, first) == (0.354, 0.707)
    assert next_scales({**level, 0.354: 3, 0.707: 4}, first) == ()
    assert end_of(level).side == "smallest"
    assert next_scales({**level, 0.0625: 4}, first) == (0.354, 0.707)
    # No scale makes a difference: one more on each side, and both ends are reported.
    result = tuned(dial(0.6, floor=4000))
    assert list(result.regret["Dial"]) == [2.0, 1.0, 0.5, 0.25, 0.125]
    assert result.best["Dial"] == 1.0  # the first
    assert result.ends["Dial"].side == "smallest and largest"
    assert result.ends["Dial"].text == (
        "least regret at exploration 0.125, the smallest tried: the best may be smaller; "
        "least regret at exploration 2, the largest tried: the best may be larger"
    )


def test_a_floor_that_is_reached_inside_is_inside():
    """Regret is flat within a factor of 2^1.2 of 0.1: 0.0625 and 0.125 tie, 0.25 and 0.0312 are worse."""
    result = tuned(dial(0.1, floor=120))
    assert result.ends == {}
    assert {0.125, 0.0625, 0.0312} < set(result.regret["Dial"])
    assert result.best["Dial"] == 0.125


def test_any_grid_can_be_the_first():
    assert list(tuned(dial(0.3), grid=(0.5,)).regret["Dial"]) == [1.0, 0.5, 0.354, 0.25, 0.177, 0.125]
    coarse = tuned(dial(0.3), grid=(0.01, 10))
    assert 1 / 1.5 < coarse.best["Dial"] / 0.3 < 1.5
    assert coarse.ends == {}
    assert list(tuned(dial(0.01), bracket=False).regret["Dial"]) == list(GRID)
    assert next_scales({0.0015: 1, 0.003: 2}, (0.003, 0.0015)) == ()
    assert next_scales({600.0: 1, 300.0: 2}, (600.0, 300.0)) == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_search_is_taken_up_to_the_same_bytes(workers, tmp_path, stopped_after, monkeypatch):
    asked = {"tune": True, "tuning_seeds": 2, "seeds": 2, "num_rounds": 3}
    agents = [dial(0.1), dial(1.3, "large")]
    compare(ENV, agents, **asked, out=tmp_path / "straight")
    straight = held(tmp_path / "straight")
    total = sum(name.endswith(".npz") for name in straight)
    assert total == 2 * (7 + 6) + 2 * 4
    described = json.loads(straight["experiment.json"])["settings"]["tuning"]
    assert described == {"grid": list(GRID), "seeds": [0, 1], "bracket": True}
    first = json.loads(straight["tuning/experiment.json"])
    assert first["settings"]["tuning"] == {"grid": list(GRID), "bracket": True}
    assert len(first["settings"]["agents"]) == 2 * len(GRID)
    assert [spec["settings"]["exploration"] for spec in first["reported"][:7]] == [
        1.0, 0.5, 0.25, 0.125, 0.0625, 0.0884, 0.177]  # fmt: skip
    for number in range(0, total, 3) if workers == 1 else (0, 13):
        folder = tmp_path / f"{number}"
        with stopped_after(number):
            compare(ENV, agents, **asked, out=folder)
        compare(ENV, agents, **asked, out=folder, resume=True, num_workers=workers)
        assert held(folder) == straight, number
    for number in range(4):  # and between the runs, as the folders are written
        folder, calls = tmp_path / f"write {number}", iter(range(number))
        write = tuning_module.write_reported

        def stop(out, agents, calls=calls, write=write):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            write(out, agents)

        with monkeypatch.context() as patch:
            patch.setattr(tuning_module, "write_reported", stop)
            with pytest.raises(KeyboardInterrupt):
                compare(ENV, agents, **asked, out=folder)
        compare(ENV, agents, **asked, out=folder, resume=True)
        assert held(folder) == straight


def test_what_was_tuned_without_brackets_goes_on_with_them(tmp_path):
    asked = {"tune": True, "tuning_seeds": 2, "seeds": 2, "num_rounds": 3}
    compare(ENV, [dial(0.1)], **asked, out=tmp_path / "new")
    compare(ENV, [dial(0.1)], **asked, bracket=False, out=tmp_path / "old")
    path = tmp_path / "old" / "experiment.json"
    fixed = json.loads(path.read_text())
    assert fixed["settings"]["tuning"].pop("bracket") is False
    path.write_text(json.dumps(fixed))
    inner = tmp_path / "old" / "tuning" / "experiment.json"
    fixed = json.loads(inner.read_text())
    fixed["settings"]["tuning"] = None  # as folders had it
    inner.write_text(json.dumps(fixed))
    loaded = load_records(tmp_path / "old")
    assert loaded.ends["Dial (exploration 0.25)"].side == "smallest"
    compare(ENV, [dial(0.1)], **asked, out=tmp_path / "old", resume=True)
    old, new = held(tmp_path / "old"), held(tmp_path / "new")
    assert {name: content for name, content in old.items() if name in new} == new
    assert all("exploration-0.25" in name for name in set(old) - set(new))  # was reported before
    with pytest.raises(ValueError, match=r"tuning\.bracket = True, asked for False"):
        compare(ENV, [dial(0.1)], **asked, bracket=False, out=tmp_path / "new", resume=True)


def test_tuning_alone_keeps_and_resumes_what_it_tried(tmp_path, stopped_after):
    with stopped_after(8):
        tuned(dial(0.1), out=tmp_path)
    result = tuned(dial(0.1), out=tmp_path, resume=True)
    loaded = choose(load_records(tmp_path))
    assert (str(loaded), loaded.best) == (str(result), result.best)
    assert list(loaded.regret["Dial"]) == [1.0, 0.5, 0.25, 0.177, 0.125, 0.0884, 0.0625]


def test_settings_of_the_tuning_hold_for_every_scale():
    made = compare(ENV, [dial(0.1)], tune=True, tuning_seeds=1, seeds=1, num_rounds=3, tuning_settings={"level": 7})
    regret = choose(made.tuning).regret["Dial"]
    assert regret[0.125][0] == 3 * (7 + 32)
    assert regret[0.0884][0] == 3 * (7 + 18)
    assert made.final_regret("Dial (exploration 0.0884)")[0] == 3 * 18


def test_agents_that_explore_by_a_rule_are_left_alone():
    rule = AgentSpec("Ruled", {"exploration": "horizon"})
    called = AgentSpec("Ruled", {"exploration": abs}, "called")
    plain, scaled = AgentSpec("Ruled"), AgentSpec("Ruled", {"exploration": 0.5}, "scaled (exploration 0.5)")
    assert [exploration_of(spec) for spec in (rule, called, plain, scaled, dial(1))] == [None, None, None, 0.5, 1.0]
    assert exploration_of(AgentSpec("Dial", {"exploration": True})) is None
    assert exploration_of(AgentSpec("Random")) is None
    labels = [base_label(spec) for spec in (rule, called, plain, scaled)]
    assert labels == ["Ruled (exploration horizon)", "called", "Ruled", "scaled"]
    assert with_tuned([rule, plain], {}) == (rule, plain)
    made = compare(ENV, [rule, called, plain, scaled], tune=True, tuning_seeds=1, seeds=1, num_rounds=3)
    assert list(choose(made.tuning).best) == ["scaled"]
    assert made.labels == ["Ruled (exploration horizon)", "called", "Ruled", "scaled (exploration 0.5)",
                           "scaled (exploration 0.707)"]  # fmt: skip
    with pytest.raises(ValueError, match="agents must be some with an exploration scale"):
        tuned(rule, plain)


def test_the_command_line_brackets_unless_told_not_to(tmp_path, capsys):
    small = ["--env", ENV, "--agents", "Dial:best=0.000001", "--rounds", "3", "--seeds", "1", "--no-progress"]
    text = "† Dial (best 1e-06): " + SMALLEST
    assert main(["tune", *small, "--out", str(tmp_path / "a")]) == 0
    assert text in capsys.readouterr().out
    assert main(["run", *small, "--tune", "--tuning-seeds", "1", "--out", str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out
    assert printed.count(text) == 2  # below both tables
    assert "Dial (best 1e-06, exploration 0.00195) †" in printed
    assert main(["plot", str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.count(text) == 2
    assert main(["tune", *small, "--no-bracket", "--out", str(tmp_path / "c")]) == 0
    assert "least regret at exploration 0.25, the smallest tried" in capsys.readouterr().out
    fixed = ["run", *small, "--tune", "--no-bracket", "--grid", "1", "0.5", "--out", str(tmp_path / "d")]
    assert main(fixed) == 0
    assert "least regret at exploration 0.5, the smallest tried" in capsys.readouterr().out
