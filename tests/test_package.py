"""The cost of importing the package, and the names that it has."""

import importlib
import subprocess
import sys
from importlib.metadata import version

import pytest

import dts_gym

HEAVY = (
    "torch",
    "matplotlib",
    "pandas",
    "scipy.stats",
    "tyro",
    "tqdm",
    "joblib",
    "pooch",
    "stable_baselines3",
    "tensorboard",
    "sklearn",
    "pygame",
    "PIL",
    "ray",
    "yaml",
    "threadpoolctl",
    "numba",
)


@pytest.mark.parametrize(
    "code",
    ["import dts_gym", "import dts_gym, gymnasium; dts_gym.make_agent('dTS', gymnasium.make('DiffusionBandit-v0'))"],
)
def test_neither_the_import_nor_an_agent_loads_heavy_modules(code):
    code += f"; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"], ["list", "dTS"], ["list", "regret-LL"]])
def test_what_only_lists_loads_neither_statistics_nor_experiments(words):
    code = (
        "import contextlib, io, sys\nfrom dts_gym.cli.entry import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()): assert main({words}) == 0\n"
        "heavy = ('scipy.stats', 'scipy.optimize', 'matplotlib', 'dts_gym.studies.cells', 'dts_gym.diagnostics')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in dts_gym.__all__:
        assert getattr(dts_gym, name) is not None
    assert set(dts_gym.__all__) == {name for name in dir(dts_gym) if not name.startswith("__")}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dts_gym.nothing


def test_sub_packages_load_when_first_used():
    code = "import dts_gym; print(dts_gym.agents.DiffusionTS.__name__, dts_gym.envs.DiffusionBanditEnv.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["DiffusionTS", "DiffusionBanditEnv"]


def test_the_command_line_is_a_module_too(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gymnasium as gym\nfrom dts_gym.envs import DiffusionBanditEnv\n"
        "gym.register('Mine-v0', entry_point=DiffusionBanditEnv)\n"
    )
    command = [sys.executable, "-m", "dts_gym", "run", "--env", "mine:Mine-v0", "--env.num-actions", "5"]
    command += ["--agents", "LinTS", "--seeds", "1", "--rounds", "3", "--out", "out", "--no-progress"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "LinTS" in done.stdout


def test_the_version_is_one():
    assert dts_gym.__version__ == version("dts-gym")


def test_all_registered_ids_load():
    for agent_id in dts_gym.agent_ids():
        assert importlib.import_module("dts_gym.registry").agent_class(agent_id).__doc__
