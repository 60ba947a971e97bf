"""An environment of your own: which of K adverts to show at which hour, paid in clicks.

python examples/custom_env.py [ROUNDS] [SEEDS]

A subclass of `BanditEnv` defines how to draw an instance and contexts; it inherits streams, checks, regret, frames,
pickling and vector environments. An environment that does not use this package works as well: see digits.py.
"""

import sys

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

import dts_gym
from dts_gym.envs import BanditEnv
from dts_gym.envs.vector import vector_maker


class AdvertBanditEnv(BanditEnv):
    """Contexts (1, cos, sin) of the hour; clicks of advert a are Poisson of mean ``exp(x' theta_a)``."""

    def __init__(
        self,
        num_actions: int = 20,
        horizon: int = 2000,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        # The adverts share a mean, with few clicks and a daily rhythm; the covariance is that of each advert around it.
        prior = dts_gym.LinearDiffusionPrior(
            weights=[np.eye(3)], covariances=[0.3 * np.eye(3), 0.2 * np.eye(3)], offsets=[np.array([-1.0, 0.5, 0.0])]
        )
        problem = dts_gym.BanditProblem(num_actions, 3, prior, dts_gym.PoissonReward(), horizon=horizon)
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)

    def _context_space(self) -> gym.spaces.Box:
        return gym.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> dts_gym.BanditInstance:
        return dts_gym.BanditInstance(
            self.problem.prior.sample(rng, self.problem.num_actions), self.problem.reward_model
        )

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> np.ndarray:
        angle = rng.uniform(0.0, 2 * np.pi, count)
        return np.column_stack([np.ones(count), np.cos(angle), np.sin(angle)]).astype(np.float32)


make_vector = vector_maker(AdvertBanditEnv)
if "AdvertBandit-v0" not in gym.registry:  # a script may be both run and imported
    gym.register("AdvertBandit-v0", "custom_env:AdvertBanditEnv", vector_entry_point="custom_env:make_vector")


def main(num_rounds: int = 1000, seeds: int = 3) -> None:
    """Check the environment, compare agents on it, play many instances at once."""
    check_env(gym.make("AdvertBandit-v0").unwrapped)
    print("check_env passes")
    # "module:Id" is imported in worker processes too.
    agents = ["dTS", "GLM-TS", "UCB-GLM", "Random"]
    print(dts_gym.compare("custom_env:AdvertBandit-v0", agents, seeds=seeds, num_rounds=num_rounds))
    envs = gym.make_vec("AdvertBandit-v0", num_envs=8)
    result = dts_gym.run(envs, dts_gym.make_agent("dTS", envs, seed=0), num_rounds // 10, seed=0)
    print(f"8 instances at once: regrets {np.round(result.regret[:, -1]).astype(int).tolist()}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
