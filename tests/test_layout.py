"""The package stays one that can be read: few files a folder, no long ones; old import paths give the same objects."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import dts_gym
import dts_gym.agents
import dts_gym.envs

# In a checkout agents/ and envs/ are beside dts_gym/, in a wheel within it.
FOLDERS = {Path(package.__file__).parent for package in (dts_gym, dts_gym.agents, dts_gym.envs)}
FILES = sorted({path for folder in FOLDERS for path in folder.rglob("*.py")})
# Files of more than 350 lines, each with the reason why it is not two.
LONG = {
    "posteriors/action_posterior.py": "the template of all posteriors with a shared part: its methods call each other",
    "chain/branched_levels.py": "the levels of each action's own: their messages, filters and draws",
    "posteriors/action_table.py": "one table: its columns, their updates singly and in batches, their rounding",
}
# Short names of modules that moved, and where their names are now.
SHORT = {
    "callbacks": ("harness.callbacks",),
    "experiment": ("harness.agent_texts", "harness.experiment", "harness.run_record"),
    "figures": ("harness.figures",),
    "report": ("harness.experiment", "harness.sweeps", "utils.tables"),
    "sweeps": ("harness.sweeps",),
}


def test_few_files_lie_at_the_top():
    assert len(list(Path(dts_gym.__file__).parent.glob("*.py"))) <= 12


def test_no_folder_is_full():
    counts = {folder: sum(path.parent == folder for path in FILES) for folder in {path.parent for path in FILES}}
    assert len(counts) > 15
    assert {str(folder): count for folder, count in counts.items() if count > 25} == {}


def test_files_are_short():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {"/".join(path.parts[-2:]): count for path, count in lines.items() if count > 350}
    assert {name: count for name, count in long.items() if name not in LONG} == {}


@pytest.mark.parametrize("name", SHORT)
def test_a_short_name_of_a_module_gives_the_same_objects(name):
    short = importlib.import_module(f"dts_gym.{name}")
    homes = [importlib.import_module(f"dts_gym.{home}") for home in SHORT[name]]
    for public in short.__all__:
        assert any(getattr(home, public, None) is getattr(short, public) for home in homes), public
    own = [each for each in vars(short).values() if inspect.isfunction(each) or inspect.isclass(each)]
    assert all(each.__module__ in {home.__name__ for home in homes} for each in own)


@pytest.mark.parametrize(
    "face", [path for path in FILES if path.name == "__init__.py"], ids=lambda path: path.parent.name
)
def test_a_folder_names_its_files_in_the_order_of_reading(face):
    text = ast.get_docstring(ast.parse(face.read_text()))
    others = {path.stem for path in face.parent.glob("*.py")} - {"__init__", "__main__"}
    if face.parent != Path(dts_gym.__file__).parent:
        assert {name for name in others if f"`{name}`" not in text} == set()
