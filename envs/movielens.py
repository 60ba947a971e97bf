"""The bandit derived from MovieLens ratings: users are contexts, movies are actions."""

from __future__ import annotations

import math
import os
from typing import Literal, get_args

import gymnasium as gym
import numpy as np

from dts_gym.datasets import Factors, cached_factors
from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.vector import vector_maker
from dts_gym.pretraining.prior_cache import learned_prior
from dts_gym.priors.prior import Prior
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.problem.rewards import BernoulliReward, GaussianReward
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import integer

Part = Literal["all", "tuning", "report"]


class MovieLensBanditEnv(BanditEnv):
    """A contextual bandit made of real ratings: which of K movies will this user like?

    ## Description
    The centred ratings are factorised once, ``rating - mean = user' movie + noise``, and kept in a cache. Movies
    with enough ratings are split in two: the prior is fitted to the training movies, and the K actions of an
    episode are drawn at reset from the others. Every round a random user comes along. Users' factors have identity
    covariance, so that priors on movies mean the same on every data set. The factorisation is one of all ratings: the
    prior has seen no movie that is played, but users' factors are fitted to their ratings of it too.

    The problem's prior is learned from the training movies. "linear" is a chain of ``depth`` identity links: its top
    is at 0, the last link adds the training movies' mean, and their covariance is split evenly over the levels, so that
    `branch` says which share of it all movies have in common. "diffusion" is a denoising diffusion model
    (`dts_gym.pretraining`, extra ``torch``), trained on first use and kept in the cache. `past_parameters` are the
    training movies.

    The other movies can be parted in two halves, one to tune agents on and one to report: ``part``.

    ## Action Space
    ``Discrete(num_actions)``: movies.

    ## Observation Space
    ``Box(lowest, highest, (rank,), float32)``: a user's factors, bounds over all users.

    ## Rewards
    "gaussian": the centred rating, ``N(user' movie, noise_std^2)`` in stars above the mean of all ratings;
    ``noise_std`` is that of the factorisation's residuals. "bernoulli": whether the user likes the movie, 1 with
    probability ``sigmoid(user' movie pi / (sqrt(3) noise_std))``: that of a rating above the mean of all ratings, were
    its noise logistic of the same standard deviation. With means between 3.5 and 4, as MovieLens has them, that is a
    rating of 4 or more. Movies' parameters are scaled by that factor, users stay as they are. ``info`` holds
    ``expected_reward``, ``optimal_action``, ``regret``, ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``data="ml-1m"``: a release name (downloaded on first use) or a path to a zip, folder or ratings file.
    - ``num_actions=100``: K.
    - ``rank=5``: d, of the factorisation.
    - ``horizon=5000``: rounds of an episode.
    - ``prior="linear"``: or ``"diffusion"``, or a prior of your own, or a file of one.
    - ``depth=None``: L, links of the learned chain; None: 2 of "linear", 40 of "diffusion".
    - ``branch=None``: levels above it are shared by all movies, 0..L; "auto": the one under which training movies kept
      apart are most probable (`dts_gym.choose_branch`); None: "auto" of "diffusion", L - 1 of "linear", the top level
      shared; of a prior of your own its own branch.
    - ``reward="gaussian"``: or ``"bernoulli"``.
    - ``noise_std=None``: standard deviation of the ratings' noise; None: from the residuals.
    - ``min_ratings=20``: movies with fewer ratings are left out.
    - ``train_fraction=0.5``: share of the movies that the prior is fitted to.
    - ``part="all"``: of the other movies, or ``"tuning"``, ``"report"``, disjoint halves.
    - ``split_seed=0``: of that split.
    - ``instance_seed=None``: pins the instance over resets.
    - ``regret_info=True``: whether ``info`` tells the truth, at O(K d) a step.
    - ``render_mode=None``: or ``"rgb_array"``, ``"human"`` (a window): truth, regret, the agent given to `watch`.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] = "ml-1m",
        num_actions: int = 100,
        rank: int = 5,
        horizon: int = 5000,
        prior: Literal["linear", "diffusion"] | Prior | str | os.PathLike[str] = "linear",
        depth: int | None = None,
        branch: int | Literal["auto"] | None = None,
        reward: Literal["gaussian", "bernoulli"] = "gaussian",
        noise_std: float | None = None,
        min_ratings: int = 20,
        train_fraction: float = 0.5,
        part: Part = "all",
        split_seed: int = 0,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        K = integer("num_actions", num_actions, 1)
        factors = cached_factors(data, rank)
        train, self._held_out = _split(factors, min_ratings, train_fraction, split_seed, part)
        if len(self._held_out) < K:
            where = "" if part == "all" else f" in the part {part!r}"
            raise ValueError(
                f"num_actions must be at most {len(self._held_out)}, the movies of {os.fspath(data)!r} with "
                f"{min_ratings} ratings or more that the prior is not fitted to{where}, got {K}"
            )
        self._users = factors.user_factors.astype(np.float32)
        ratings = GaussianReward(factors.noise_std if noise_std is None else noise_std)
        if reward not in ("gaussian", "bernoulli"):
            raise ValueError(f"reward must be 'gaussian' or 'bernoulli', got {reward!r}")
        if reward == "bernoulli":
            # The logistic law of standard deviation 1 has scale sqrt(3) / pi.
            scale = math.pi / (math.sqrt(3.0) * ratings.noise_std)
            train, self._held_out = scale * train, scale * self._held_out
        if branch is None and prior == "diffusion":
            branch = "auto"
        problem = BanditProblem(
            num_actions=K,
            dim=factors.movie_factors.shape[1],
            # A small network: a thousand movies leave nothing for a large one to learn, and it is what a round costs.
            prior=learned_prior(prior, train, depth, branch, hidden=32, blocks=1),
            reward_model=ratings if reward == "gaussian" else BernoulliReward(),
            horizon=horizon,
            past_parameters=train,
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(self._users.min(axis=0), self._users.max(axis=0), dtype=np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        chosen = rng.choice(len(self._held_out), self.problem.num_actions, replace=False)
        return BanditInstance(self._held_out[chosen], self.problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return self._users[rng.integers(len(self._users), size=count)]


make_vector = vector_maker(MovieLensBanditEnv)


def _split(
    factors: Factors, min_ratings: int, train_fraction: float, split_seed: int, part: Part
) -> tuple[Array, Array]:
    """Movies' factors, of the training part and of the held-out part or a half of it, (N, d) each."""
    if part not in get_args(Part):
        raise ValueError(f"part must be one of {get_args(Part)}, got {part!r}")
    least = integer("min_ratings", min_ratings, 1)
    if isinstance(train_fraction, bool) or not isinstance(train_fraction, int | float) or not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction must be a number between 0 and 1, got {train_fraction!r}")
    seed = integer("split_seed", split_seed, 0)
    movies = factors.movie_factors[factors.counts >= least]
    if len(movies) < 4:
        raise ValueError(f"min_ratings must leave 4 movies or more, got {least}, which leaves {len(movies)}")
    shuffled = movies[stream(seed, "split").permutation(len(movies))]
    num_train = min(max(2, round(train_fraction * len(movies))), len(movies) - 1)
    train, held_out = shuffled[:num_train], shuffled[num_train:]
    half = len(held_out) // 2
    return train, {"all": held_out, "tuning": held_out[:half], "report": held_out[half:]}[part]
