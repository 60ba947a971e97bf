"""What the page on other packages shows, runs."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "ecosystem.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("code", CODE)
def test_the_pages_code_runs(code, monkeypatch, tmp_path):
    if "TensorBoard" in code:
        for module in ("torch", "tensorboard"):
            pytest.importorskip(module, reason=f"{module} is not installed")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "ecosystem.md", "exec"), {})


def test_the_page_names_files_that_are_there():
    root = Path(__file__).resolve().parents[1]
    named = re.findall(r"(?:examples|tests)/\w+\.py", PAGE)
    assert len(named) >= 4
    assert all((root / name).is_file() for name in named)
