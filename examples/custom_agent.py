"""An agent of your own: how to write it, check it and compare it in worker processes.

python examples/custom_agent.py [ROUNDS] [SEEDS] [WORKERS]
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

import dts_gym
from dts_gym.agents import Agent
from dts_gym.checks import check_agent


class BoltzmannMeans(Agent):
    """Plays action a with probability proportional to ``exp(mean reward of a / temperature)``, whatever the context.

    The base class checks input, owns the random streams and the files; `load` passes again the settings that its
    constructor received by name.
    """

    def __init__(self, problem: dts_gym.BanditProblem, *, seed: Any = None, temperature: float = 0.3) -> None:
        self.temperature = temperature
        super().__init__(problem, seed=seed, temperature=temperature)

    def _forget(self) -> None:
        self._sums, self._counts = np.zeros((2, self.problem.num_actions))

    def _learn(self, context: np.ndarray, action: int, reward: float) -> None:
        self._sums[action] += reward
        self._counts[action] += 1

    def _means(self) -> np.ndarray:
        return self._sums / (self._counts + 1)

    def _rows(self, contexts: np.ndarray) -> tuple[int, ...]:
        """() for a single context, (n,) for a batch."""
        return contexts.shape[: contexts.ndim - len(self.problem.context_shape)]

    def _choose(self, contexts: np.ndarray, rng: np.random.Generator, mask: np.ndarray | None) -> np.ndarray:
        # With Gumbel noise the index of the largest score has Boltzmann's distribution.
        gumbel = rng.gumbel(size=(*self._rows(contexts), self.problem.num_actions))
        scores = self._means() / self.temperature + gumbel
        return np.asarray((scores if mask is None else np.where(mask, scores, -np.inf)).argmax(axis=-1))

    def _choose_greedily(self, contexts: np.ndarray, rng: np.random.Generator, mask: np.ndarray | None) -> np.ndarray:
        means = self._means()
        return np.full(self._rows(contexts), (means if mask is None else np.where(mask, means, -np.inf)).argmax())

    def _state(self) -> Mapping[str, np.ndarray]:
        return {"sums": self._sums, "counts": self._counts}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._sums, self._counts = np.array(state["sums"]), np.array(state["counts"])


# Registered on import, so that "custom_agent:Boltzmann" is an id in any process that finds this module.
dts_gym.register_agent("Boltzmann", "custom_agent:BoltzmannMeans")


def main(num_rounds: int = 500, seeds: int = 4, num_workers: int = 2) -> None:
    """Check that the agent keeps the contract, then compare it."""
    check_agent("custom_agent:Boltzmann")
    print("check_agent passes")
    agents = ["custom_agent:Boltzmann", "custom_agent:Boltzmann:temperature=1.0", "LinTS", "Random"]
    asked = {"seeds": seeds, "num_rounds": num_rounds, "num_workers": num_workers}
    print(dts_gym.compare("DiffusionBandit-v0", agents, **asked, env_settings={"num_actions": 20}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
