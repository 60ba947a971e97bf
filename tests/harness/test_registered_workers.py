"""Environments and agents that a script registers are known to its worker processes."""

import importlib.util
import subprocess
import sys

import gymnasium as gym
import pytest

import dts_gym
from dts_gym import registry
from dts_gym.agents import LinTS, LinUCB
from dts_gym.harness import user_entries

ray_only = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
SCRIPT = '''
import sys

import gymnasium as gym
import numpy as np

import dts_gym
from dts_gym.agents import LinTS
from dts_gym.envs import DiffusionBanditEnv


class HalfTS(LinTS):
    """A class of this script."""

    def __init__(self, problem, *, seed=None, exploration=0.5):
        super().__init__(problem, seed=seed, exploration=exploration)


class Small(DiffusionBanditEnv):
    """An environment of this script."""

    def __init__(self, num_actions=4):
        super().__init__(num_actions=num_actions, dim=2)


if __name__ == "__main__":
    dts_gym.register_agent("Half", HalfTS)
    dts_gym.register_agent("HalfByName", "__main__:HalfTS")
    gym.register("Small-v0", entry_point=Small)
    gym.register("SmallByName-v0", entry_point="__main__:Small")
    made = [
        dts_gym.compare(env_id, ["Half", "HalfByName", "dTS"], seeds=3, num_rounds=20, backend=backend, num_workers=n)
        for env_id in ("Small-v0", "SmallByName-v0")
        for backend, n in (("serial", 1), (sys.argv[1], 2))
    ]
    for label in made[0].labels:
        for other in made[1:]:
            np.testing.assert_array_equal(made[0].final_regret(label), other.final_regret(label))
    assert (made[0].final_regret("Half") == made[0].final_regret("HalfByName")).all()
    print("the same", made[0].final_regret("Half").mean() > 0)
'''


@pytest.mark.parametrize("backend", ["processes", pytest.param("ray", marks=[ray_only, pytest.mark.slow])])
def test_what_a_script_registers_is_known_to_its_workers(backend, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), backend], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "the same True\n"), done.stderr


def test_only_entries_that_a_worker_may_not_know_are_sent(monkeypatch):
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))
    monkeypatch.setitem(gym.registry, "Here-v0", gym.spec("DiffusionBandit-v0"))
    registry.register_agent("Here", "dts_gym.agents:LinTS")
    assert user_entries.user_entries("DiffusionBandit-v0", ["dTS", "my.module:MyTS"]) == (None, {})
    assert user_entries.user_entries("my.module:My-v0", ["Here"]) == (None, {"Here": "dts_gym.agents:LinTS"})
    env, agents = user_entries.user_entries("Here-v0", ["LinTS"])
    assert env.entry_point == "dts_gym.envs.diffusion:DiffusionBanditEnv"
    assert agents == {}


def test_a_class_that_is_defined_again_takes_its_former_place(monkeypatch):
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))

    def cell(value):
        class Mine(LinTS):
            def __init__(self, problem, *, seed=None, exploration=value):
                super().__init__(problem, seed=seed, exploration=exploration)

        return Mine

    env = gym.make("DiffusionBandit-v0", num_actions=3)
    for value in (1.0, 0.5):
        dts_gym.register_agent("Mine", cell(value))
        assert dts_gym.make_agent("Mine", env).exploration == value
    with pytest.raises(ValueError, match="agent_id must be new, got 'Mine', which is registered"):
        dts_gym.register_agent("Mine", LinUCB)
    assert dts_gym.make_agent("Mine", env).exploration == 0.5
