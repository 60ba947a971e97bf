"""The example scripts run."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# A quick setting of each, and what it must print.
SETTINGS = {"compare_agents": (["20", "2"], "±"), "large_k": (["30", "1000000000"], "peak memory")}


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_an_example_runs_small(name, tmp_path):
    arguments, expected = SETTINGS[name]
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert expected in done.stdout
    if name == "compare_agents":
        assert list(tmp_path.glob("*.png"))
    else:  # both agents, in blocks
        assert done.stdout.count("K=1000000000") == done.stdout.count(expected) == 2
        assert done.stdout.count("\n") == 2 * (2 + 10 + 1)
