"""Two agents that nobody tuned, on ten bandits: five seconds, a table and a picture.

python examples/five_seconds.py [ROUNDS] [SEEDS]
"""

import sys

import dts_gym
from dts_gym.figures import regret_figure
from dts_gym.utils.tables import mean_interval


def main(num_rounds: int = 3000, seeds: int = 10) -> None:
    """Compare bounds on a chain's posterior with LinUCB, which takes the 200 actions as unrelated."""
    result = dts_gym.compare(
        "DiffusionBandit-v0",
        ["dUCB", "LinUCB"],
        seeds=seeds,
        num_rounds=num_rounds,
        env_settings={"num_actions": 200, "dim": 10, "depth": 2},
        redraw_prior=True,  # each run has a chain of its own
    )
    print(result)
    low, mean, high = mean_interval(result.final_regret("LinUCB") - result.final_regret("dUCB"))
    print(f"LinUCB has {mean:.0f} more regret (run by run; 95 % interval {low:.0f} to {high:.0f})")
    regret_figure(result, "five_seconds.png")
    print("figure: five_seconds.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
