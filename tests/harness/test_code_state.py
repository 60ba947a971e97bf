"""Results name the commit of the code that made them: of a checkout, of a wheel, and where none can be known."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dts_gym
from dts_gym.cli.entry import main
from dts_gym.harness import code_state as code_state_module
from dts_gym.harness.code_state import STAMP, code_state, commit_of
from dts_gym.harness.comparing import compare
from dts_gym.harness.records import load_records
from dts_gym.utils.archives import read_archive

ROOT = Path(__file__).resolve().parents[2]
ENV = "DiffusionBandit-v0"
ASKED = {"seeds": 2, "num_rounds": 20, "env_settings": {"num_actions": 5, "dim": 2}}
NOWHERE = {"commit": None, "dirty": None}


def git(folder, *words):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | who
    done = subprocess.run(["git", "-C", str(folder), *words], env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A small checkout, committed."""
    root = tmp_path / "checkout"
    for name in ("dts_gym", "agents", "docs"):
        (root / name).mkdir(parents=True)
        (root / name / "__init__.py").write_text("x = 1\n")
    (root / ".gitignore").write_text("env/\n")
    git(tmp_path, "init", "-q", str(root))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def test_a_checkout_is_of_its_commit_and_dirty_where_code_has_changed(checkout):
    first = git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout / "dts_gym") == {"commit": first, "dirty": False}
    (checkout / "docs" / "__init__.py").write_text("no code\n")
    (checkout / "results").mkdir()
    (checkout / "results" / "mine.txt").write_text("no code either")
    assert commit_of(checkout / "dts_gym") == {"commit": first, "dirty": False}
    (checkout / "agents" / "new.py").write_text("a new module\n")
    assert commit_of(checkout / "dts_gym") == {"commit": first, "dirty": True}
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "second")
    second = git(checkout, "rev-parse", "HEAD")
    assert second != first
    assert commit_of(checkout / "dts_gym") == {"commit": second, "dirty": False}
    (checkout / "dts_gym" / "__init__.py").write_text("x = 2\n")
    assert commit_of(checkout / "dts_gym") == {"commit": second, "dirty": True}


def test_a_worktree_and_a_hook_of_git_do_not_mislead(checkout, tmp_path, monkeypatch):
    git(checkout, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    (tmp_path / "tree" / "dts_gym" / "__init__.py").write_text("x = 3\n")
    git(tmp_path / "tree", "commit", "-qam", "there")
    there = git(tmp_path / "tree", "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(checkout))
    assert commit_of(tmp_path / "tree" / "dts_gym") == {"commit": there, "dirty": False}
    assert commit_of(checkout / "dts_gym")["commit"] == git(checkout, "rev-parse", "HEAD") != there


def test_an_environment_within_a_checkout_of_something_else_is_no_part_of_it(checkout):
    installed = checkout / "env" / "site-packages" / "dts_gym"
    shutil.copytree(checkout / "dts_gym", installed)
    assert commit_of(installed) == NOWHERE
    (installed / STAMP).write_text(json.dumps({"commit": "abc", "dirty": False}))
    assert commit_of(installed) == {"commit": "abc", "dirty": False}
    for damaged in ("", "[]", "{}", '{"commit": "abc"}'):
        (installed / STAMP).write_text(damaged)
        assert commit_of(installed) == NOWHERE


def test_without_git_nothing_is_known_and_nothing_fails(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(checkout / "dts_gym") == NOWHERE


def test_a_wheel_and_a_source_archive_carry_the_commit_and_the_checkout_stays_clean(tmp_path):
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    source = tmp_path / "source"
    for name in ("dts_gym", "agents", "envs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    git(tmp_path, "init", "-q", str(source))
    git(source, "add", "-A")
    git(source, "commit", "-qm", "all")
    expected = {"commit": git(source, "rev-parse", "HEAD"), "dirty": False}

    def built(folder, what):
        code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(tmp_path)!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return tmp_path / done.stdout.splitlines()[-1]

    def stamp_of(wheel):
        with zipfile.ZipFile(wheel) as file:
            return json.loads(file.read(f"dts_gym/{STAMP}"))

    assert stamp_of(built(source, "wheel")) == expected
    archive = built(source, "sdist")
    assert git(source, "status", "--porcelain") == ""
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert stamp_of(built(unpacked, "wheel")) == expected
    (source / "envs" / "more.py").write_text("more")
    assert stamp_of(built(source, "wheel")) == {**expected, "dirty": True}


def test_every_run_names_the_commit_and_the_version(tmp_path):
    made = compare(ENV, ["LinTS", "Random"], **ASKED, out=tmp_path / "out", num_workers=2)
    own = {"dts_gym": dts_gym.__version__, **commit_of(Path(dts_gym.__file__).parent)}
    assert code_state() == own
    for path in (tmp_path / "out" / "runs").iterdir():
        assert read_archive(path)[1]["code"] == own
    assert made.states == load_records(tmp_path / "out").states == [own]


@pytest.fixture
def at_commit(monkeypatch):
    """Results made from here on are of this commit."""

    def at(commit):
        state = {"dts_gym": dts_gym.__version__, "commit": commit, "dirty": False}
        monkeypatch.setattr(code_state_module, "_imported", lambda: state)
        return state

    return at


def test_resuming_by_another_commit_is_warned_of_and_both_are_kept(tmp_path, at_commit, recwarn):
    first = at_commit("1" * 40)
    compare(ENV, ["LinTS"], **ASKED, out=tmp_path)
    compare(ENV, ["LinTS"], **{**ASKED, "seeds": 3}, out=tmp_path, resume=True)
    assert not recwarn.list
    second = at_commit("2" * 40)
    compare(ENV, ["LinTS"], **{**ASKED, "seeds": 4}, out=tmp_path, resume=True)
    (warned,) = recwarn.list
    assert f"resuming records of dts_gym {dts_gym.__version__}, commit 111111111111 with dts_gym" in str(warned.message)
    assert load_records(tmp_path).states == [first, second]


def test_a_report_on_results_of_several_states_says_so(tmp_path, at_commit, capsys):
    states = {}
    for name, commit in (("scaling", "1" * 40), ("swiss-roll", "2" * 40)):
        states[name] = at_commit(commit)
        assert main(["reproduce", name, "--seeds", "1", "--out", str(tmp_path / name), "--no-progress"]) == 0
        described = json.loads((tmp_path / name / "study.json").read_text())
        assert described["states"] == [states[name]]
        capsys.readouterr()
        assert main(["report", str(tmp_path / name)]) == 0
        assert capsys.readouterr().err == ""
    assert main(["report", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning: results are of 2 states of the code (dts_gym" in line
    assert "commit 111111111111: scaling; " in line
    assert "commit 222222222222: swiss-roll)" in line
    assert "commit 222222222222" in (tmp_path / "report.html").read_text()
    # Results of before, which name none, are of an unknown state.
    path = tmp_path / "scaling" / "study.json"
    old = json.loads(path.read_text())
    del old["states"]
    path.write_text(json.dumps(old))
    assert main(["report", str(tmp_path)]) == 0
    assert "dts_gym unknown, commit unknown: scaling" in capsys.readouterr().err
    path.write_text(json.dumps({**old, "states": [{"commit": "1"}]}))
    assert main(["report", str(tmp_path)]) == 2
    assert "states must each have the entries ['dts_gym', 'commit', 'dirty']" in capsys.readouterr().err


def test_a_study_that_goes_on_by_another_commit_has_both(tmp_path, at_commit, capsys):
    asked = ["reproduce", "scaling", "--out", str(tmp_path), "--no-progress"]
    first = at_commit("1" * 40)
    assert main([*asked, "--seeds", "1"]) == 0
    second = at_commit("2" * 40)
    assert main([*asked, "--seeds", "2", "--resume"]) == 0
    assert "resuming records of dts_gym" in capsys.readouterr().err
    assert json.loads((tmp_path / "study.json").read_text())["states"] == [first, second]


@pytest.mark.parametrize("study", ["cost", "posterior-error"])
def test_studies_without_runs_keep_their_states_too(study, tmp_path, at_commit):
    only = {"cost": "L=2", "posterior-error": "linear"}[study]
    asked = ["reproduce", study, "--out", str(tmp_path), "--no-progress", "--only", only]
    first = at_commit("1" * 40)
    assert main([*asked, *(["--seeds", "1"] if study != "cost" else [])]) == 0
    second = at_commit("2" * 40)
    (described,) = tmp_path.glob("study*.json")
    assert json.loads(described.read_text())["states"] == [first]
    more = ["--seeds", "2"] if study != "cost" else []
    assert main([*asked, *more, "--resume"]) == 0
    expected = [first] if study == "cost" else [first, second]  # all sizes had been timed
    assert json.loads(described.read_text())["states"] == expected
