"""``pytest --no-missing``: no test is skipped for a missing package. And what is installed for it: every extra."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

MARKED = """
import pytest

@pytest.mark.skipif(True, reason="{reason}")
def test_marked():
    pass

def test_called():
    pytest.skip("{reason}")

def test_passes():
    pass
"""
MODULE = """
import pytest

pytest.importorskip("no_such_package", reason="no_such_package is not installed")
"""


@pytest.fixture
def outcome(tmp_path):
    """What pytest counts in a file of tests that has this project's conftest.py beside it."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)

    def counted(text, *options):
        (tmp_path / "test_it.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *options]
        done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout

    return counted


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_skip_for_a_missing_package_fails(outcome, workers):
    text = MARKED.format(reason="torch is not installed")
    status, printed = outcome(text, "-n", workers)
    assert status == 0
    assert "1 passed, 2 skipped" in printed
    status, printed = outcome(text, "-n", workers, "--no-missing")
    assert status == 1
    assert "1 failed, 1 passed, 1 error" in printed  # a mark skips before the test, which is an error of its set-up
    assert "skipped, which --no-missing does not allow: torch is not installed" in printed


def test_a_file_that_needs_a_missing_package_is_an_error(outcome):
    assert "1 skipped" in outcome(MODULE)[1]
    status, printed = outcome(MODULE, "--no-missing")
    assert status not in (0, 5)
    assert "skipped, which --no-missing does not allow: no_such_package is not installed" in printed


def test_what_the_machine_cannot_do_is_skipped(outcome):
    status, printed = outcome(MARKED.format(reason="this machine has no /proc"), "--no-missing")
    assert status == 0
    assert "1 passed, 2 skipped" in printed


def test_an_expected_failure_is_no_skip(outcome):
    text = "import pytest\n\n@pytest.mark.xfail(reason='known')\ndef test_it():\n    assert False\n"
    status, printed = outcome(text, "--no-missing")
    assert status == 0
    assert "1 xfailed" in printed


@pytest.mark.parametrize("compiler", [sys.executable, "no-such-compiler"])
def test_every_extra_is_installed_but_what_cannot_be_compiled(compiler):
    script = ROOT / ".ci" / "extras.py"
    env = {**os.environ, "CC": compiler, "CXX": compiler}
    done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=True)
    needed = {each for extra in PROJECT["optional-dependencies"].values() for each in extra}
    compiled = next(each for each in needed if each.startswith(runpy.run_path(str(script))["COMPILED"]))
    left_out = needed - set(done.stdout.splitlines())
    assert set(done.stdout.splitlines()) <= needed
    assert left_out == ({compiled} if "left out" in done.stderr else set())
    assert "left out" in done.stderr or compiler == sys.executable


def test_the_minima_are_the_declared_ones():
    """`make test-min` installs them: a bound that is raised or lowered must be tested as such."""
    declared = {}
    for each in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        name, _, lowest = each.partition(">=")
        if lowest:
            declared[name] = lowest
    lines = [line for line in (ROOT / "minima.txt").read_text().splitlines() if not line.startswith("#")]
    tested = dict(line.split("==") for line in lines)
    short = {name: re.sub(r"(\.0)+$", "", version) for name, version in tested.items()}
    assert short == {name: re.sub(r"(\.0)+$", "", version) for name, version in declared.items()}
    elsewhere = {
        name: lowest
        for extra in PROJECT["optional-dependencies"].values()
        for name, _, lowest in (each.partition(">=") for each in extra)
        if name in declared
    }
    assert elsewhere == {name: declared[name] for name in elsewhere}  # one bound in all extras
    ran = (ROOT / ".ci" / "run").read_text().split("\n")
    assert ran.index("make test-min") > ran.index("make test-all")


def test_the_release_is_tested_on_every_version_that_the_package_names():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    versions = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if "Python :: 3." in each]
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == versions
    assert jobs["publish"]["needs"] == "test"
    assert any("--no-missing" in step.get("run", "") for step in jobs["test"]["steps"])
