"""The example scripts run."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_small(path, tmp_path):
    done = subprocess.run(
        [sys.executable, str(path), "20", "2"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "±" in done.stdout
    assert list(tmp_path.glob("*.png"))
