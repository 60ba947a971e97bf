"""A prior of your own: chains written by hand, saved to a file, and used by agents.

python examples/own_prior.py [ROUNDS] [SEEDS]
"""

import sys

import numpy as np

import dts_gym


def tastes() -> dts_gym.LinearDiffusionPrior:
    """A chain in which actions differ along one direction, psi_1, around a shared centre, psi_2, and hardly in others.

    ``psi_2 ~ N(0, covariances[2])``, ``psi_1 ~ N(weights[1] psi_2, covariances[1])``, then each action's parameters
    ``theta_a ~ N(weights[0] psi_1 + offsets[0], covariances[0])``. With ``branch=1`` each has a psi_1 of its own.
    """
    d = 4
    direction = np.outer(np.ones(d), [1.0, 0.0, 0.0, 0.0]) / 2
    return dts_gym.LinearDiffusionPrior(
        weights=[direction, np.eye(d)],
        covariances=[0.05 * np.eye(d), np.diag([1.0, 0.0, 0.0, 0.0]), np.eye(d)],
        offsets=[np.full(d, 0.3), np.zeros(d)],
        branch=1,
    )


def bent() -> dts_gym.DiffusionPrior:
    """The same chain with a link that is not linear: any `Link` works; an `MLPLink` accepts any weights."""
    chain = tastes()
    bend = dts_gym.MLPLink([np.eye(4), 1.5 * np.eye(4)], activation="tanh")
    return dts_gym.DiffusionPrior([chain.links[0], bend], chain.covariances, branch=1)


def main(num_rounds: int = 500, seeds: int = 3) -> None:
    """Compare agents that know the prior with LinTS, which does not."""
    for prior in (tastes(), bent()):
        result = dts_gym.compare(
            "DiffusionBandit-v0",
            ["dTS", "dTS:branch=0", "MarginalLinTS", "LinTS"],
            seeds=seeds,
            num_rounds=num_rounds,
            env_settings={"prior": prior, "num_actions": 30},
        )
        print(type(prior).__name__)
        print(result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
