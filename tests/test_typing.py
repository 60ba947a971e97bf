"""Programs that use the package are checked against its types, as `mypy --strict` sees an installed package."""

import shutil
import subprocess
import sys
import venv
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import dts_gym
from dts_gym.registry import agent_class

CLIENT = '''
"""What a program of a user's may do."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import dts_gym
from dts_gym import AffineLink, BanditProblem, DiffusionPrior, GaussianReward, Link, make_agent
from dts_gym.agents import Agent, DiffusionTS, LinTS
from dts_gym.checks import check_agent, check_prior
from dts_gym.theory import bayes_regret_bound


class Halving(Link):
    """A link of one's own."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def __call__(self, psi: NDArray[np.float64]) -> NDArray[np.float64]:
        return psi / 2

    def jacobian(self, psi: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.broadcast_to(np.eye(self.dim) / 2, (*psi.shape, self.dim))


class First(Agent):
    """An agent of one's own."""

    def __init__(self, problem: BanditProblem, *, seed: int | np.random.SeedSequence | None = None) -> None:
        super().__init__(problem, seed=seed)

    def _choose(
        self, contexts: NDArray[np.float64], rng: np.random.Generator, mask: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        first = 0 if mask is None else int(mask.argmax())
        return np.full(contexts.shape[:-1], first)

    def _choose_greedily(
        self, contexts: NDArray[np.float64], rng: np.random.Generator, mask: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        return self._choose(contexts, rng, mask)

    def _learn(self, context: NDArray[np.float64], action: int, reward: float) -> None:
        return

    def _forget(self) -> None:
        return

    def _state(self) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        return {}

    def _restore(self, state: Any) -> None:
        return


prior = DiffusionPrior([Halving(3), AffineLink(np.eye(3))], [np.eye(3)] * 3)
check_prior(prior)
env = gym.make("DiffusionBandit-v0", prior=prior, num_actions=10)
problem = BanditProblem(10, 3, prior, GaussianReward(0.5))
agent = DiffusionTS(problem, seed=0, exploration=0.5)
context, _ = env.reset(seed=0)
action: int | NDArray[np.int64] = agent.act(context, mask=np.ones(10, dtype=bool))
agent.update(context, action, 1.0)
mean: NDArray[np.float64] = agent.mean_reward(context)
lower, upper = agent.credible_interval(context, 0.9)
shares: NDArray[np.float64] = agent.action_probabilities(context)
regret: NDArray[np.float64] = dts_gym.run(env, make_agent("LinTS", env, seed=0), num_rounds=10, seed=0).regret
check_agent(First, env)
dts_gym.register_agent("First", First)
table = dts_gym.compare("DiffusionBandit-v0", ["dTS", "First"], seeds=2, num_rounds=10)
labels: list[str] = table.labels
bound: float = bayes_regret_bound(100, 10, 3, [1.0, 1.0])
again: LinTS = LinTS.load("agent.npz")
print(mean, lower, upper, shares, regret, labels, bound, again)
effective: dict[str, float] = make_agent("dTS", env, seed=0).diagnostics
'''
# An id says which interface its agent has.
ESTIMATES = [name for name in dts_gym.agent_ids() if hasattr(agent_class(name), "mean_reward")]
CLIENT += "".join(f"make_agent({name!r}, problem).mean_reward(context)\n" for name in ESTIMATES)
MISTAKES = """
import dts_gym
from dts_gym.agents import LinTS

problem = dts_gym.BanditProblem("ten", 3, dts_gym.random_linear_prior(3, 2), dts_gym.GaussianReward())
text: str = LinTS(problem).num_updates
LinTS(problem, explore=1.0)
dts_gym.make_agent("Random", problem).mean_reward([0.0])
dts_gym.compare("DiffusionBandit-v0", ["dTS"]).nothing
dts_gym.nothing()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment that holds the package as a wheel would put it there, and the present one's packages behind it."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(dts_gym.__file__).parent, site / "dts_gym", ignore=ignore)
    for part in (dts_gym.agents, dts_gym.envs):  # beside it in a checkout
        shutil.copytree(
            Path(part.__file__).parent, site / part.__name__.replace(".", "/"), ignore=ignore, dirs_exist_ok=True
        )
    (site / "behind.pth").write_text(str(Path(np.__file__).parents[1]))
    return folder


def test_the_package_says_that_it_is_typed():
    assert files("dts_gym").joinpath("py.typed").is_file()


def test_a_client_program_is_typed_and_mistakes_are_told(installed):
    pytest.importorskip("mypy", reason="mypy is not installed")
    (installed / "client.py").write_text(CLIENT)
    (installed / "mistakes.py").write_text(MISTAKES)
    # Torch is looked at as little as if it were not installed, and so it takes no minutes.
    (installed / "mypy.ini").write_text("[mypy]\n[mypy-torch.*,ray.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "cache", "--python-executable"]
    command += ["venv/bin/python", "client.py", "mistakes.py"]
    done = subprocess.run(command, cwd=installed, capture_output=True, text=True)
    told = [line.split(": ", 2)[0] for line in done.stdout.splitlines() if ": error: " in line]
    assert told == [f"mistakes.py:{line}" for line in range(5, 11)], done.stdout + done.stderr
