"""The examples of the README run."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_is_short():
    assert 8 <= len(CODE[0].strip().splitlines()) <= 12


@pytest.mark.parametrize("code", CODE)
def test_the_readmes_code_runs(code, monkeypatch, tmp_path):
    if "stable_baselines3" in code:
        pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


def test_the_figure_and_the_commands_are_there():
    root = Path(__file__).resolve().parents[1]
    for figure in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (root / figure).is_file()
    makefile = (root / "Makefile").read_text()
    for target in re.findall(r"^    make ([a-z-]+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
