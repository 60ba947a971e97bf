"""The examples of the README run."""

import re
from pathlib import Path

import pytest

import dts_gym
from dts_gym import registry

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
# Other tests register agents of their own.
AGENT_IDS = [name for name, home in registry._AGENTS.items() if str(home).startswith("dts_gym.agents.")]
CODE = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_is_short():
    assert 8 <= len(CODE[0].strip().splitlines()) <= 13


@pytest.mark.parametrize("code", CODE)
def test_the_readmes_code_runs_and_prints_what_it_says(code, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    exec(compile(code.replace('"dUCB"', '"Random"'), "README.md", "exec"), {})
    said = re.search(r"It prints about (\d+), .* it is about (\d+)\.", README, re.DOTALL)
    printed = [float(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == pytest.approx([float(number) for number in said.groups()], rel=0.02)


def test_a_reader_is_through_in_a_few_minutes():
    assert len(README) <= 8000


def test_every_id_is_named_and_leads_to_its_page():
    assert f"{len(AGENT_IDS)} agents" in README
    assert f"{len(dts_gym.env_ids())} environments" in README
    for name in [*dts_gym.env_ids(), *AGENT_IDS]:
        assert f"[`{name}`](docs/intros/{name}.md)" in README


def test_the_figures_the_links_and_the_commands_are_there():
    root = Path(__file__).resolve().parents[1]
    assert len(re.findall(r"!\[.*?\]\((.*?)\)", README)) == 3
    for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", README):
        path, _, place = "".join(target).partition("#")
        assert path.startswith("https://") or (root / path).is_file(), path
        if place:
            page = (root / path).read_text()
            titles = re.findall(r"^#+ (.*)", page, flags=re.MULTILINE)
            assert place in [title.lower().replace(" ", "-") for title in titles] or f"\n({place})=\n" in page
    makefile = (root / "Makefile").read_text()
    for target in re.findall(r"^    make ([a-z-]+)", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
