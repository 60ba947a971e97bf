"""Sweeps: cells, table, files; the same bytes whatever the backend and however often it was killed."""

import csv
import importlib.util
import io
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from dts_gym.cli.entry import main
from dts_gym.harness import jobs, records
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import AgentSpec
from dts_gym.harness.records import load_records
from dts_gym.harness.sweeps import Sweep, load_sweep, run_sweep

ray_only = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
ROOT = Path(__file__).resolve().parents[2]
ENV = "DiffusionBandit-v0"
SMALL = Sweep([{"id": ENV, "num_actions": [6, 9], "dim": 2}], ["dTS", "LinTS:exploration=0.5"], seeds=2, rounds=30)
TEXT = """
rounds: {rounds}
seeds: {seeds}
environments:
  - {{id: DiffusionBandit-v0, num_actions: [6, 9], dim: 2}}
agents: [dTS, "LinTS:exploration=0.5"]
"""


def results(folder):
    """Every file that must not depend on when, where and how a sweep was run, as bytes."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "log"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def finished(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*/runs/[!.]*.npz")}


def sweep_file(folder, rounds=30, seeds=2):
    path = folder / "sweep.yaml"
    path.write_text(TEXT.format(rounds=rounds, seeds=seeds))
    return path


def start(file, out, *arguments, **options):
    command = [sys.executable, "-m", "dts_gym.cli", "sweep", str(file), "--out", str(out), "--no-progress", "--resume"]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, **options)  # fmt: skip


def wait_for(condition):
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


def test_a_cell_is_what_compare_gives_and_writes(tmp_path, capsys):
    result = run_sweep(SMALL, out=tmp_path / "out")
    assert list(result.cells) == [f"{ENV} (num_actions 6)", f"{ENV} (num_actions 9)"]
    for (label, cell), actions in zip(result.cells.items(), (6, 9), strict=True):
        (folder,) = (tmp_path / "out").glob(f"{ENV}-num_actions-{actions}-*")
        alone = compare(ENV, SMALL.agents, seeds=2, num_rounds=30, env_settings={"num_actions": actions, "dim": 2},
                        out=tmp_path / label)  # fmt: skip
        assert results(folder) == results(tmp_path / label)
        assert len(list(folder.glob("runs/*"))) == 4
        for name in alone.labels:
            np.testing.assert_array_equal(cell.regret(name), alone.regret(name))
        assert main(["plot", str(folder)]) == 0
        assert "LinTS (exploration 0.5)" in capsys.readouterr().out


def test_the_table_and_the_summary_hold_every_agent_of_every_cell(tmp_path):
    sweep = Sweep(
        [{"id": ENV, "num_actions": 6, "dim": [2, 3]}, {"id": "SharedDiffusionBandit-v0", "noise_std": 0.5}],
        ["LinTS", "Random"],
        seeds=[3, 5],
        rounds=20,
    )
    result = run_sweep(sweep, out=tmp_path)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text())))
    assert list(rows[0]) == ["environment", "env.num_actions", "env.dim", "env.noise_std", "rounds", "agent", "regret",
                             "standard_error", "seeds", "scale_end"]  # fmt: skip
    asked = [(ENV, "6", "2", ""), (ENV, "6", "3", ""), ("SharedDiffusionBandit-v0", "", "", "0.5")]
    assert [tuple(row.values())[:4] for row in rows] == [cell for cell in asked for _ in range(2)]
    found = [cell.final_regret(label) for cell in result.cells.values() for label in cell.labels]
    for row, finals in zip(rows, found, strict=True):
        a, b = finals
        assert float(row["regret"]) == pytest.approx((a + b) / 2, rel=1e-12)
        assert float(row["standard_error"]) == pytest.approx(abs(a - b) / 2, rel=1e-12)
        assert (row["rounds"], row["seeds"]) == ("20", "2")
    lines = str(result).splitlines()
    assert len(lines) == 7
    assert lines[0].split() == ["environment", "agent", "final", "regret", "µs", "a", "round", "seeds"]
    assert [line.split("   ")[0] for line in lines[1::2]] == list(result.cells)


def test_lists_are_grids_of_environments_and_agents():
    sweep = Sweep(
        [{"id": ENV, "num_actions": [5, 6], "dim": [2, 3]}],
        ["Random", {"id": "dTS", "exploration": [1.0, 0.5], "branch": [0, 1]}, AgentSpec("LinTS", label="mine"),
         {"id": "LinTS", "label": "other", "exploration": 2.0}],
        seeds=[7], rounds=3,
    )  # fmt: skip
    experiments = sweep.experiments()
    settings = [tuple(experiment.env_settings.values()) for experiment in experiments.values()]
    assert settings == [(5, 2), (5, 3), (6, 2), (6, 3)]
    for experiment in experiments.values():
        assert [spec.label for spec in experiment.agents] == [
            "Random", "dTS (exploration 1, branch 0)", "dTS (exploration 1, branch 1)",
            "dTS (exploration 0.5, branch 0)", "dTS (exploration 0.5, branch 1)", "mine", "other"]  # fmt: skip
        assert experiment.agents[-1].settings == {"exploration": 2.0}
        assert (experiment.seeds, experiment.num_rounds) == ((7,), 3)


def test_a_tuned_sweep_tunes_every_cell_by_itself(tmp_path):
    sweep = Sweep([{"id": ENV, "num_actions": 8, "dim": [2, 4]}], ["LinTS"], seeds=2, rounds=60, tune=True,
                  grid=[1, 0.5, 0.05], tuning_seeds=2, redraw_prior=True)  # fmt: skip
    result = run_sweep(sweep, out=tmp_path, num_workers=2)
    for cell, dim in zip(result.cells.values(), (2, 4), strict=True):
        alone = compare(ENV, ["LinTS"], seeds=2, num_rounds=60, env_settings={"num_actions": 8, "dim": dim}, tune=True,
                        grid=[1, 0.5, 0.05], tuning_seeds=2, redraw_prior=True)  # fmt: skip
        assert cell.labels == alone.labels
        for label in alone.labels:
            np.testing.assert_array_equal(cell.regret(label), alone.regret(label))
        for label in alone.tuning.labels:
            np.testing.assert_array_equal(cell.tuning.regret(label), alone.tuning.regret(label))
    with pytest.raises(ValueError, match="tune must be off where env_settings pin"):
        run_sweep(Sweep([{"id": ENV, "instance_seed": 3}], ["LinTS"], rounds=5, tune=True), out=tmp_path / "pinned")
    assert not (tmp_path / "pinned").exists()


@pytest.mark.parametrize(
    ("backend", "workers"),
    [("processes", 1), ("processes", 3), pytest.param("ray", 2, marks=[ray_only, pytest.mark.slow])],
)
def test_the_files_are_the_same_whatever_the_backend(tmp_path, backend, workers):
    run_sweep(SMALL, out=tmp_path / "serial", backend="serial")
    run_sweep(SMALL, out=tmp_path / "other", backend=backend, num_workers=workers)
    assert len(finished(tmp_path / "serial")) == 8
    assert results(tmp_path / "other") == results(tmp_path / "serial")


@pytest.mark.skipif(os.name != "posix", reason="this machine has no SIGKILL")
@pytest.mark.parametrize(
    ("seeds", "kills", "arguments"),
    [
        (10, 2, ["--backend", "serial"]),
        pytest.param(50, 5, ["--backend", "serial"], marks=pytest.mark.slow),
        pytest.param(50, 5, ["--workers", "2"], marks=pytest.mark.slow),
        pytest.param(50, 5, ["--backend", "ray", "--workers", "2"], marks=[ray_only, pytest.mark.slow]),
    ],
)
def test_a_sweep_killed_again_and_again_loses_and_doubles_nothing(tmp_path, seeds, kills, arguments):
    file, out, rng = sweep_file(tmp_path, 100, seeds), tmp_path / "out", np.random.default_rng(seeds + kills)
    num_runs, held = 4 * seeds, {}
    for kill in range(kills):
        process = start(file, out, *arguments)
        # Some kills while folders are made ready, the others between two runs or in the midst of one.
        more = 0 if kill == 1 else int(rng.integers(1, num_runs // (kills + 1)))
        wait_for(lambda: out.exists() and len(finished(out)) >= len(held) + more)  # noqa: B023
        time.sleep(rng.uniform(0, 0.05))
        assert process.poll() is None
        process.kill()
        process.communicate(timeout=30)  # ends when no worker holds the pipes any more
        assert held.items() <= finished(out).items()  # not one of the finished runs was done again
        held = finished(out)
        assert len(held) < num_runs
    process = start(file, out, *arguments)
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert held.items() <= finished(out).items()
    assert len(finished(out)) == num_runs
    assert main(["sweep", str(file), "--out", str(tmp_path / "straight"), "--backend", "serial", "--no-progress"]) == 0
    assert results(out) == results(tmp_path / "straight")
    assert str(load_records(next(out.glob("*9-*")))).splitlines()[1].split("   ")[0] in printed


@ray_only
@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="this machine has no /proc, where the test finds workers"
)
def test_a_killed_worker_of_ray_costs_nothing_but_time(tmp_path):
    file, out = sweep_file(tmp_path, 2000, 8), tmp_path / "out"
    process = start(file, out, "--backend", "ray", "--workers", "2")
    for number in (2, 9):
        wait_for(lambda: out.exists() and len(finished(out)) >= number)  # noqa: B023
        busy = []
        wait_for(lambda: busy.extend(p for p in descendants(process.pid) if "one_thread" in name_of(p)) or busy)  # noqa: B023
        os.kill(busy[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    run_sweep(load_sweep(file), out=tmp_path / "straight", backend="serial")
    assert results(out) == results(tmp_path / "straight")


def descendants(pid):
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, fresh = set(), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    except OSError:
        return ""


@pytest.mark.skipif(os.name != "posix", reason="this machine cannot limit a process")
@pytest.mark.parametrize("arguments", [["--backend", "serial"], ["--workers", "2"]])
def test_a_full_disk_is_one_line_and_finished_runs_stay(tmp_path, stopped_after, arguments):
    out = tmp_path / "out"
    with stopped_after(3):
        run_sweep(SMALL, out=out)
    before = results(out)
    assert min(len(content) for name, content in before.items() if name.endswith(".npz")) > 1500

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    process = start(sweep_file(tmp_path), out, *arguments, preexec_fn=small_files)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert errors.count("\n") == 1
    assert "File too large; finished runs are kept, resume goes on with the others: '" in errors
    assert ".npz'" in errors
    assert results(out) == before  # no part of a file is left either
    run_sweep(SMALL, out=out, resume=True)
    run_sweep(SMALL, out=tmp_path / "straight")
    assert results(out) == results(tmp_path / "straight")


def test_folders_that_cannot_be_made_are_one_line(tmp_path, capsys, stopped_after):
    file = str(sweep_file(tmp_path))
    for out in (file, f"{file}/below"):
        assert main(["sweep", file, "--out", out, "--no-progress"]) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert out in message
    with stopped_after(5):
        run_sweep(SMALL, out=tmp_path / "out")
    second = next((tmp_path / "out").glob("*9-*"))
    for path in sorted(second.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    second.rmdir()
    second.write_text("in the way")
    before = results(tmp_path / "out")
    assert main(["sweep", file, "--out", str(tmp_path / "out"), "--resume", "--no-progress"]) == 2
    assert f"out must be a folder, got the file '{second}'" in capsys.readouterr().err
    assert results(tmp_path / "out") == before


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_stopped_sweep_is_taken_up(tmp_path, monkeypatch, stopped_after, number):
    with stopped_after(number):
        run_sweep(SMALL, out=tmp_path / "out")
    held = finished(tmp_path / "out")
    assert len(held) == number
    done = []
    run = jobs._run_group
    monkeypatch.setattr(jobs, "_run_group", lambda *given: done.extend(given[0].jobs) or run(*given))
    run_sweep(SMALL, out=tmp_path / "out", resume=True)
    assert len(done) == 8 - number
    assert held.items() <= finished(tmp_path / "out").items()
    run_sweep(SMALL, out=tmp_path / "straight")
    assert results(tmp_path / "out") == results(tmp_path / "straight")


@pytest.mark.parametrize("number", range(6))
def test_a_stop_while_folders_are_made_leaves_one_to_resume(tmp_path, monkeypatch, number):
    count, write = iter(range(number)), records.write_atomically

    def write_some(path, *arguments):
        if next(count, None) is None:
            (path.parent / f".{path.name}.0123456789abcdef.part").write_bytes(b"what a kill leaves")
            raise KeyboardInterrupt
        write(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_atomically", write_some)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(SMALL, out=tmp_path / "out")
    assert not finished(tmp_path / "out")
    run_sweep(SMALL, out=tmp_path / "out", resume=True)
    run_sweep(SMALL, out=tmp_path / "straight")
    assert results(tmp_path / "out") == results(tmp_path / "straight")
    assert not list((tmp_path / "out").rglob(".*.part"))


def test_what_is_finished_is_checked_when_resumed(tmp_path):
    out = tmp_path / "out"
    run_sweep(SMALL, out=out)
    straight = results(out)
    one, two, three = sorted(finished(out))[:3]
    one.write_bytes(one.read_bytes()[:-7])
    two.write_bytes(three.read_bytes())
    with pytest.warns(UserWarning, match="running again") as warned:
        run_sweep(SMALL, out=out, resume=True)
    named = [str(warning.message) for warning in warned if "running again" in str(warning.message)]
    assert len(named) == 2
    assert all(any(str(path) in message for message in named) for path in (one, two))
    assert results(out) == straight


def test_a_resumed_sweep_may_have_grown(tmp_path):
    out, grown = tmp_path / "out", tmp_path / "grown.yaml"
    run_sweep(SMALL, out=out)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    grown.write_text(TEXT.format(rounds=30, seeds=3).replace("[6, 9]", "[5, 6, 9]").replace("[dTS", "[LinUCB, dTS"))
    whole = run_sweep(load_sweep(grown), out=tmp_path / "straight")
    resumed = run_sweep(load_sweep(grown), out=out, resume=True)
    assert len(whole.cells) > len(run_sweep(SMALL).cells)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert results(out) == results(tmp_path / "straight")
    assert list(resumed.cells) == list(whole.cells)


def test_only_the_same_sweep_is_resumed(tmp_path, capsys):
    file, out = sweep_file(tmp_path), tmp_path / "out"
    run_sweep(SMALL, out=out)
    before = results(out)
    for old, new, message in [
        ("[6, 9]", "[6, 10]", "cells."),
        ("dim: 2", "dim: 3", "env_settings.dim = 2, asked for 3"),
        ("rounds: 30", "rounds: 31", "num_rounds = 30, asked for 31"),
        ("[6, 9]", "[6]", "asked for None"),
    ]:
        file.write_text(TEXT.format(rounds=30, seeds=2).replace(old, new))
        assert main(["sweep", str(file), "--out", str(out), "--resume", "--no-progress"]) == 2
        assert message in capsys.readouterr().err
    file.write_text(TEXT.format(rounds=31, seeds=2).replace("[6, 9]", "[6, 9, 12]"))
    assert main(["sweep", str(file), "--out", str(out), "--resume", "--no-progress"]) == 2
    assert results(out) == before
    run_sweep(SMALL, out=out, resume=True)  # what is refused leaves it as it was
    assert main(["sweep", str(sweep_file(tmp_path)), "--out", str(out), "--no-progress"]) == 2
    assert "out must be a new or empty folder unless resumed" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"got '.*mine' without sweep\.json"):
        run_sweep(SMALL, out=tmp_path / "mine", resume=True)
    assert results(out) == before
    (out / "sweep.json").write_text("{")
    with pytest.raises(ValueError, match=r"sweep\.json' must be written by dts_gym"):
        run_sweep(SMALL, out=out, resume=True)


BASE = {"environments": "[{id: DiffusionBandit-v0, dim: 2}]", "agents": "[Random]", "rounds": "3"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"round": "5"}, "must hold keys among ['environments', 'agents', 'seeds', 'rounds', 'redraw_prior', 'tune', "
                         "'grid', 'tuning_seeds', 'out', 'bracket'], got 'round'"),
        ({"agents": None}, "must have the key agents, got ['environments', 'rounds'] only"),
        ({"agents": "dTS"}, "agents must be a list of at least one, got 'dTS'"),
        ({"agents": "[]"}, "agents must be a list of at least one, got []"),
        ({"agents": "[dTX]"}, "got 'dTX'"),
        ({"agents": "[{id: dTS, explration: 1}]"}, "got 'explration'"),
        ({"agents": "[{id: dTS, exploration: [1, 2], label: x}]"}, "label must be left out where settings are lists"),
        ({"agents": "[3]"}, "agents must each have an id, got 3"),
        ({"environments": "[{dim: 2}]"}, "environments must each have an id, got {'dim': 2}"),
        ({"environments": "[{id: DiffusionBandit-v0, dim: []}]"}, "with at least one value, got 'dim': []"),
        ({"environments": "[{id: DiffusionBandit-v0, dmi: 2}]"}, "env_settings must be among"),
        ({"environments": "[{id: DiffusionBandit-v0}, {id: DiffusionBandit-v0}]"}, "'DiffusionBandit-v0' twice"),
        ({"environments": "[{id: DiffusionBandit-v0, dim: 2, dim: 3}]"}, "the key 'dim' twice"),
        ({"environments": "[{id: Nowhere-v0}]"}, "Nowhere"),
        ({"seeds": "0"}, "seeds must be an integer >= 1, got 0"),
        ({"rounds": "-1"}, "error: rounds must be an integer >= 1, got -1"),
        ({"tune": "1"}, "tune must be true or false, got 1"),
        ({"grid": "[1, 2]"}, "grid must go with tune: true"),
        ({"bracket": "false"}, "bracket must go with tune: true"),
        ({"tune": "true", "bracket": "2"}, "bracket must be true or false, got 2"),
        ({"tune": "true", "grid": "[-1]"}, "grid must be"),
        ({"out": "3"}, "out must be the name of a folder, got 3"),
        ({"agents": "[dTS"}, "must be YAML"),
    ],
)  # fmt: skip
def test_files_that_make_no_sense_are_one_line_and_leave_no_folder(tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    lines = [f"{key}: {value}\n" for key, value in (BASE | change).items() if value is not None]
    Path("wrong.yaml").write_text("".join(lines))
    assert main(["sweep", "wrong.yaml", "--no-progress", "--backend", "serial"]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert os.listdir() == ["wrong.yaml"]


def test_what_is_no_mapping_or_no_file_is_refused(tmp_path, capsys):
    (tmp_path / "list.yaml").write_text("[1, 2]")
    assert main(["sweep", str(tmp_path / "list.yaml")]) == 2
    assert "must hold keys among" in capsys.readouterr().err
    assert main(["sweep", str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"sweep must be a Sweep, as load_sweep reads it from a file, got 'a\.yaml'"):
        run_sweep("a.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_whole(path):
    assert all(experiment.agents and experiment.seeds for experiment in load_sweep(path).experiments().values())


def test_the_example_runs_and_is_the_one_that_help_shows(tmp_path, monkeypatch, capsys):
    example = ROOT / "examples" / "sweep.yaml"
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    body = example.read_text().partition("\n")[2]
    assert textwrap.indent(body, "    ") in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", str(example), "--workers", "1", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "SharedDiffusionBandit-v0" in printed
    assert f"summary: {Path('results/sweep/summary.csv')}" in printed
    assert len(list(Path("results/sweep").glob("*/experiment.json"))) == 3


def test_a_grid_that_nobody_could_run_is_refused_before_it_is_multiplied_out(tmp_path):
    axes = "".join(f", s{i}: {list(range(10))}" for i in range(8))
    text = "environments: [{id: DiffusionBandit-v0%s}]\nagents: [{id: dTS%s}]\n"
    for environment, agent, name in ((axes, "", "environments"), ("", axes, "agents")):
        (tmp_path / "s.yaml").write_text(text % (environment, agent))
        with pytest.raises(ValueError, match=rf"^{name} must each span at most 10000 points, got 100000000"):
            load_sweep(tmp_path / "s.yaml").experiments()


def test_cells_are_named_by_what_differs_among_those_of_their_environment():
    sweep = Sweep(
        [
            {"id": "DiffusionBandit-v0", "num_actions": [5, 6], "dim": 2, "depth": 2},
            {"id": "DiffusionBandit-v0", "num_actions": 5, "dim": 3},
            {"id": "SharedDiffusionBandit-v0", "dim": 2},
        ],
        ["Random"],
        rounds=5,
    )
    assert list(sweep.experiments()) == [
        "DiffusionBandit-v0 (num_actions 5, dim 2, depth 2)",
        "DiffusionBandit-v0 (num_actions 6, dim 2, depth 2)",
        "DiffusionBandit-v0 (num_actions 5, dim 3)",
        "SharedDiffusionBandit-v0",
    ]


def test_files_share_settings_by_merge_keys_and_write_numbers_as_yaml_1_2_does(tmp_path):
    (tmp_path / "s.yaml").write_text(
        "environments:\n"
        "  - &base {id: DiffusionBandit-v0, num_actions: 5, dim: 2, noise_std: 1e-1}\n"
        "  - {<<: *base, num_actions: 010}\n"
        "agents: [Random]\nseeds: 010\nrounds: 5\n"
    )
    settings = [experiment.env_settings for experiment in load_sweep(tmp_path / "s.yaml").experiments().values()]
    assert settings == [
        {"num_actions": 5, "dim": 2, "noise_std": 0.1},
        {"num_actions": 10, "dim": 2, "noise_std": 0.1},
    ]
