"""Compare agents on paired instances of a bandit, print the table, draw the figure.

python examples/compare_agents.py [ROUNDS] [SEEDS]
"""

import sys

import dts_gym
from dts_gym.figures import regret_figure


def main(num_rounds: int = 1000, seeds: int = 5) -> None:
    """Compare two levels of sharing with no sharing, on a chain of four links."""
    result = dts_gym.compare(
        "DiffusionBandit-v0",
        ["dTS", "dTS:branch=2", "MarginalLinTS", "LinTS"],
        seeds=seeds,
        num_rounds=num_rounds,
        env_settings={"num_actions": 50, "dim": 10, "depth": 4},
    )
    print(result)
    regret_figure(result, "compare_agents.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
