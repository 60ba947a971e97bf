"""From ratings to regret: factorise MovieLens, fit a prior to half of the movies, recommend the others.

python examples/movielens.py DATA [ROUNDS] [SEEDS]

DATA is a release name, downloaded on first use, or a path to a zip, folder or ratings file.
"""

import sys

import gymnasium as gym

import dts_gym
from dts_gym.datasets import cached_factors


def main(data: str, num_rounds: int = 1000, seeds: int = 3) -> None:
    """Do each step separately, then use the environment that does them all."""
    # Ratings above their mean = user' movie + noise; kept in the cache.
    factors = cached_factors(data, 5)
    users, movies = len(factors.user_factors), len(factors.movie_factors)
    print(f"{users} users, {movies} movies, noise {factors.noise_std:.2f} stars")

    # The prior is fitted to training movies; an episode's actions are drawn from the others.
    settings = {"data": data, "rank": 5, "num_actions": 50}
    env = gym.make("MovieLensBandit-v0", **settings)
    problem = env.unwrapped.problem
    print(f"prior of {len(problem.past_parameters)} movies: depth {problem.prior.depth}, branch {problem.prior.branch}")

    # Each agent at exploration 1, as in theory, and with its draws scaled down, which is better in short runs.
    agents = ["dTS", "dTS:exploration=0.5", "TunedTS:exploration=0.5", "LinTS:exploration=0.2", "Random"]
    print(dts_gym.compare("MovieLensBandit-v0", agents, seeds=seeds, num_rounds=num_rounds, env_settings=settings))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python examples/movielens.py DATA [ROUNDS] [SEEDS], DATA being ml-1m or a path to ratings")
    main(sys.argv[1], *map(int, sys.argv[2:]))
