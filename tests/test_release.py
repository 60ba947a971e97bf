"""A release's README and addresses lead to the repository that it is made from, whatever its name."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".ci" / "release_pages.py"
MADE_UP = {
    "GITHUB_SERVER_URL": "https://git.example.org",
    "GITHUB_REPOSITORY": "some-group/dts_gym",
    "GITHUB_REF_NAME": "v9.8.7",
}
ADDRESS = "https://git.example.org/some-group/dts_gym"


@pytest.fixture
def release_pages():
    spec = importlib.util.spec_from_file_location("release_pages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    """A folder with the README, pyproject.toml and links to all else that the README may name."""
    for path in ROOT.iterdir():
        if path.name in ("README.md", "pyproject.toml"):
            (tmp_path / path.name).write_text(path.read_text())
        elif not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def targets(readme):
    """Links and pictures of a README, outside its code."""
    prose = re.sub(r"^```.*?^```", "", readme, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r'(?:\]\(|\b(?:src|href)=")([^)"\s]+)', prose)


def run(folder, environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    command = [sys.executable, str(SCRIPT), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env={**kept, **environment})


def test_links_pictures_and_addresses_lead_to_the_repository(checkout):
    before = targets((checkout / "README.md").read_text())
    done = run(checkout, MADE_UP)
    assert done.returncode == 0, done.stderr
    after = targets((checkout / "README.md").read_text())
    assert len(after) == len(before) > 20
    assert any(not target.startswith("https://") for target in before)
    for old, new in zip(before, after, strict=True):
        if old.startswith("https://"):
            assert new == old
            continue
        kind = "raw" if Path(old).suffix in (".svg", ".png", ".gif") else "blob"
        assert new.removesuffix("?sanitize=true") == f"{ADDRESS}/{kind}/v9.8.7/{old}"
        assert (ROOT / old.partition("#")[0]).exists()
    urls = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Homepage"] == ADDRESS
    assert urls["Changelog"] == f"{ADDRESS}/blob/v9.8.7/CHANGELOG.md"
    assert all(url.startswith(ADDRESS) for url in urls.values())


def test_nothing_else_of_the_files_changes(checkout):
    run(checkout, MADE_UP)
    readme = re.sub(
        rf"{ADDRESS}/(raw|blob)/v9\.8\.7/([^)\"\s?]+)(\?sanitize=true)?", r"\2", (checkout / "README.md").read_text()
    )
    assert readme == (ROOT / "README.md").read_text()
    loaded = tomllib.loads((checkout / "pyproject.toml").read_text())
    del loaded["project"]["urls"]
    assert loaded == tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", MADE_UP)
def test_without_an_address_the_release_stops_and_changes_nothing(checkout, name):
    before = (checkout / "README.md").read_text()
    done = run(checkout, {each: value for each, value in MADE_UP.items() if each != name})
    assert done.returncode != 0
    assert name in done.stderr
    assert (checkout / "README.md").read_text() == before


@pytest.mark.parametrize("target", ["docs/nothing.md", "#install"])
def test_a_link_that_an_index_could_not_follow_is_refused(release_pages, target):
    with pytest.raises(ValueError, match="must link to files"):
        release_pages.absolute_links(f"[there]({target})", ADDRESS, "v1", ROOT)


def test_code_is_not_taken_for_links(release_pages):
    text = "```python\nagents[0](context)\n```\n\n    table[1](2)\n\n[a page](docs/index.md)\n"
    made = release_pages.absolute_links(text, ADDRESS, "v1", ROOT)
    assert made == text.replace("docs/index.md", f"{ADDRESS}/blob/v1/docs/index.md")


def test_the_release_workflow_fits_the_pages_before_it_builds():
    steps = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert -1 < steps.find("python .ci/release_pages.py") < steps.find("python -m build")
