"""scikit-learn's digits as a bandit, in an environment that does not use this package.

python examples/digits.py [ROUNDS] [SEEDS]

Each round shows an image, the action is a guess, and the reward is 1 if it is right; the right digit is not shown.
"""

import sys

import gymnasium as gym
import numpy as np
from sklearn.datasets import load_digits

import dts_gym
from dts_gym.experiment import AgentSpec


class DigitsEnv(gym.Env):
    """Any environment with Discrete actions and Box observations works; ``regret`` in the info is for comparisons."""

    def __init__(self) -> None:
        images, self.labels = load_digits(return_X_y=True)
        # The intercept of a linear agent is a coordinate that is always 1.
        self.images = np.column_stack([images / 16, np.ones(len(images))]).astype(np.float32)
        self.action_space = gym.spaces.Discrete(10)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (65,), np.float32)

    def _next(self) -> np.ndarray:
        self.current = int(self.np_random.integers(len(self.labels)))
        return self.images[self.current]

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """The first image."""
        super().reset(seed=seed)
        return self._next(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """1 for the right digit, and the next image."""
        reward = float(action == self.labels[self.current])
        return self._next(), reward, False, False, {"regret": 1.0 - reward}


gym.register("Digits-v0", DigitsEnv)


def main(num_rounds: int = 3000, seeds: int = 2) -> None:
    """Make agents from the spaces; the caller must describe the rewards."""
    env = gym.make("Digits-v0")
    agent = dts_gym.make_agent("LinTS", env, seed=0, noise_std=0.3, exploration=0.3)
    rewards = dts_gym.run(env, agent, num_rounds, seed=0).rewards
    print(f"LinTS: {rewards.mean():.0%} right over all rounds, {rewards[-num_rounds // 5 :].mean():.0%} over the last")
    agents = [
        AgentSpec("LinTS", {"noise_std": 0.3, "exploration": 0.3}),
        AgentSpec("LinUCB", {"noise_std": 0.3, "exploration": 0.3}),
        AgentSpec("EpsilonGreedy", {"epsilon": 0.05}),
        AgentSpec("Random"),
    ]
    print(dts_gym.compare("Digits-v0", agents, seeds=seeds, num_rounds=num_rounds))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
