"""The bandit derived from MovieLens ratings: users are contexts, movies are actions."""

from __future__ import annotations

import math
import os
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np

from dts_gym.datasets import Factors, MovieFeatures, cached_factors, load_movie_features
from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.vector import vector_maker
from dts_gym.pretraining.prior_cache import learned_prior
from dts_gym.priors.features import FeaturePrior
from dts_gym.priors.prior import Prior
from dts_gym.problem.contexts import sample_of_rows
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.problem.rewards import BernoulliReward, GaussianReward
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, choice, fraction, integer

Part = Literal["all", "tuning", "report"]


class MovieLensBanditEnv(BanditEnv):
    """A contextual bandit made of real ratings: which of K movies will this user like?

    ## Description
    The centred ratings are factorised once, ``rating - mean = user' movie + noise``, and kept in a cache. Movies with
    enough ratings are split in two: the prior is fitted to the training movies, and the K actions of an episode are
    drawn at reset from the others. In every round a random user arrives. Users' factors have identity covariance, so
    that priors on movies mean the same on every data set. The factorisation uses all ratings: the prior has seen no
    movie that is played, but users' factors are fitted to their ratings of such movies too.

    The problem's prior is learned from the training movies. "linear" is a chain of ``depth`` identity links: its top
    level has mean 0, the last link adds the training movies' mean, and their covariance is split evenly over the
    levels, so that `branch` sets which share of it all movies have in common. "diffusion" is a denoising diffusion
    model (`dts_gym.pretraining`, extra ``torch``), trained on first use and kept in the cache. `past_parameters` are
    the training movies.

    ``part`` splits the other movies into two halves, one to tune agents on and one to report.

    With ``movie_features=True`` the prior is a `dts_gym.FeaturePrior` fitted to the training movies: what their genres
    and year say about a movie's factors. It needs to know which movies are played, so these are drawn once, from
    ``prior_seed``, and a reset draws users and noise only; ``problem.item_features`` has the K movies' genres and year,
    ``problem.action_names`` their titles.
    The attribute ``movie_features`` names the columns, and counts the movies that lack genres or a year, for which the
    mean stands.

    ## Action Space
    ``Discrete(num_actions)``: movies.

    ## Observation Space
    ``Box(lowest, highest, (rank,), float32)``: a user's factors, with bounds over all users.

    ## Rewards
    "gaussian": the centred rating, ``N(user' movie, noise_std^2)`` in stars above the mean of all ratings;
    ``noise_std`` is the standard deviation of the factorisation's residuals. "bernoulli": whether the user likes the
    movie, 1 with probability ``sigmoid(user' movie pi / (sqrt(3) noise_std))``. This is the probability of a rating
    above the mean of all ratings if the noise is logistic with the same standard deviation. MovieLens data have means
    between 3.5 and 4, so that is a rating of 4 or more. Movies' parameters are scaled by the factor
    ``pi / (sqrt(3) noise_std)``; users' factors are unchanged. ``info`` holds
    ``expected_reward``, ``optimal_action``, ``regret``, ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``data="ml-1m"``: a release name (downloaded on first use) or a path to a zip, folder or ratings file.
    - ``num_actions=100``: K, the number of actions.
    - ``rank=5``: d, the rank of the factorisation.
    - ``horizon=5000``: number of rounds of an episode.
    - ``prior="linear"``: the learned chain, ``"linear"`` or ``"diffusion"``; or a prior of your own, or a file of one.
    - ``depth=None``: L, the number of links of the learned chain; None: 2 for "linear", 40 for "diffusion".
    - ``branch=None``: levels above this one are shared by all movies, 0..L; "auto": the branch under which held-out
      training movies are most probable (`dts_gym.choose_branch`); None: "auto" for "diffusion", L - 1 for "linear" (the
      top level shared), and a prior of your own keeps its branch.
    - ``reward="gaussian"``: reward family, ``"gaussian"`` or ``"bernoulli"``.
    - ``movie_features=False``: whether the prior is one over genres and year, read from the file of movies beside the
      ratings (``movies.csv``, ``movies.dat`` or ``u.item``); ``prior``, ``depth`` and ``branch`` must then be left out.
    - ``prior_seed=None``: seed for the K movies, only with ``movie_features``; None is 0.
    - ``noise_std=None``: standard deviation of the ratings' noise; None: that of the residuals.
    - ``min_ratings=20``: least number of ratings of a movie; movies with fewer are left out.
    - ``train_fraction=0.5``: share of the movies that the prior is fitted to.
    - ``part="all"``: which of the other movies are actions: all, or the disjoint halves ``"tuning"`` and ``"report"``.
    - ``split_seed=0``: seed for the split of the movies.
    - ``instance_seed=None``: seed that pins the instance over resets; None draws a new instance at every reset.
    - ``regret_info=True``: whether ``info`` reports the expected reward, the best action and the regret, at O(K d) a
      step.
    - ``render_mode=None``: None, ``"rgb_array"`` or ``"human"`` (a window); frames show the truth, the regret and the
      agent given to `watch`.

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
        movie_features: bool = False,
        prior_seed: int | None = None,
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
        with_features = boolean("movie_features", movie_features)
        factors = cached_factors(data, rank)
        train, held_out = _split(factors, min_ratings, train_fraction, split_seed, part)
        if len(held_out) < K:
            where = "" if part == "all" else f" in the part {part!r}"
            raise ValueError(
                f"num_actions must be at most {len(held_out)}, the movies of {os.fspath(data)!r} with "
                f"{min_ratings} ratings or more that the prior is not fitted to{where}, got {K}"
            )
        self._users = factors.user_factors.astype(np.float32)
        ratings, movies = GaussianReward(factors.noise_std if noise_std is None else noise_std), factors.movie_factors
        if choice("reward", reward, ("gaussian", "bernoulli")) == "bernoulli":
            # The logistic distribution of standard deviation 1 has scale sqrt(3) / pi.
            movies = math.pi / (math.sqrt(3.0) * ratings.noise_std) * movies
        self._held_out = movies[held_out]
        self._played: IntArray | None = None  # which of these are the actions; None: drawn at reset
        self.movie_features: MovieFeatures | None = None
        known, fitted, titles = None, None, None
        if with_features:
            _refuse_learned(prior, depth, branch)
            self.movie_features = load_movie_features(data)
            seed = integer("prior_seed", 0 if prior_seed is None else prior_seed, 0)
            self._played = stream(seed, "prior").choice(len(held_out), K, replace=False)
            z = self.movie_features.values
            played = held_out[self._played]
            known, titles = z[played], [self.movie_features.titles[m] for m in played.tolist()]
            fitted = FeaturePrior.fit(movies[train], z[train]).for_actions(known)
        elif prior_seed is not None:
            raise ValueError(f"prior_seed must be left out without movie_features, got {prior_seed!r:.200}")
        problem = BanditProblem(
            num_actions=K,
            dim=movies.shape[1],
            prior=_learned(prior, movies[train], depth, branch) if fitted is None else fitted,
            reward_model=ratings if reward == "gaussian" else BernoulliReward(),
            horizon=horizon,
            past_parameters=movies[train],
            item_features=known,
            action_names=titles,
            context_sample=sample_of_rows(self._users),
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(self._users.min(axis=0), self._users.max(axis=0), dtype=np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        chosen = self._played
        if chosen is None:
            chosen = rng.choice(len(self._held_out), self.problem.num_actions, replace=False)
        return BanditInstance(self._held_out[chosen], self.problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return self._users[rng.integers(len(self._users), size=count)]


make_vector = vector_maker(MovieLensBanditEnv)


def _refuse_learned(prior: Any, depth: Any, branch: Any) -> None:
    """Raise ValueError if a prior is asked for beside the one over features."""
    named = {"prior": None if isinstance(prior, str) and prior == "linear" else prior, "depth": depth, "branch": branch}
    for name, value in named.items():
        if value is not None:
            raise ValueError(f"{name} must be left out with movie_features, got {value!r:.200}")


def _learned(prior: Any, train: Array, depth: int | None, branch: int | Literal["auto"] | None) -> Prior:
    """The prior without features, learned from the training movies (N, d) where it is not given."""
    if branch is None and isinstance(prior, str) and prior == "diffusion":
        branch = "auto"
    # A small network: a thousand movies leave nothing for a large one to learn, and its size sets the cost of a round.
    return learned_prior(prior, train, depth, branch, hidden=32, blocks=1)


def _split(
    factors: Factors, min_ratings: int, train_fraction: float, split_seed: int, part: Part
) -> tuple[IntArray, IntArray]:
    """Return the numbers of the training movies and of the held-out movies or a half of them."""
    choice("part", part, get_args(Part))
    least = integer("min_ratings", min_ratings, 1)
    train_fraction = fraction("train_fraction", train_fraction)
    seed = integer("split_seed", split_seed, 0)
    movies = np.flatnonzero(factors.counts >= least)
    if len(movies) < 4:
        raise ValueError(f"min_ratings must leave 4 movies or more, got {least}, which leaves {len(movies)}")
    shuffled = movies[stream(seed, "split").permutation(len(movies))]
    num_train = min(max(2, round(train_fraction * len(movies))), len(movies) - 1)
    train, held_out = shuffled[:num_train], shuffled[num_train:]
    half = len(held_out) // 2
    return train, {"all": held_out, "tuning": held_out[:half], "report": held_out[half:]}[part]
