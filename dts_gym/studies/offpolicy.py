"""Policies learned from logs of many actions: a structured posterior against independent ones, simulated and rated."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from scipy.special import softmax

from dts_gym.offpolicy import BanditLog, OffPolicyWarning, evaluate, learn
from dts_gym.offpolicy.reward_fits import independent_prior
from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.random_priors import random_linear_prior
from dts_gym.problem.rewards import GaussianReward
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.log_study import Contrast, LogCell, LogStudy
from dts_gym.studies.study import Ask
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream

_FRESH = 10_000  # contexts on which true values are averaged


class World(NamedTuple):
    """A log, and what made it: the parameters (K, d), and fresh contexts of the same distribution."""

    log: BanditLog
    theta: Array
    fresh: Array
    prior: LinearDiffusionPrior


def logged_world(
    prior: LinearDiffusionPrior,
    theta: Array,
    contexts: Array,
    num_rounds: int,
    noise_std: float,
    rng: np.random.Generator,
    guess: Array,
    narrow: float = 0.7,
) -> World:
    """A log of the policy ``narrow`` softmax of ``x' guess_a`` plus the rest uniform.

    The first ``num_rounds`` of the contexts are logged, the others are fresh. The guess (K, d) must know nothing of the
    truth: a log's policy that did would say more by its actions than rewards do, and no posterior given the rewards
    alone would be right.
    """
    x, fresh = contexts[:num_rounds], contexts[num_rounds:]
    means = x @ theta.T
    K = len(theta)
    p = narrow * softmax(x @ guess.T, axis=1) + (1 - narrow) / K
    actions = (p.cumsum(axis=1) > rng.random((num_rounds, 1))).argmax(axis=1)
    rows = np.arange(num_rounds)
    rewards = means[rows, actions] + noise_std * rng.standard_normal(num_rounds)
    log = BanditLog(x, actions, rewards, p[rows, actions], K, reward=GaussianReward(noise_std), adapted=False)
    return World(log, theta, fresh, prior)


def judged(world: World) -> dict[str, float]:
    """What policies lose that are greedy on each posterior, and what each posterior claims for its own policy.

    Numbers a learner: ``loss``, the mean of the best action's reward less the policy's; ``claim``, the value that its
    posterior claims for the policy; ``value``, the true one; ``error``, the distance of these.
    """
    means = world.fresh @ world.theta.T
    best = float(means.max(axis=1).mean())
    chain = world.prior
    priors = {
        "sDM": chain,
        "DM": independent_prior(chain.dim),
        "marginal DM": chain.with_branch(chain.depth),
    }
    out: dict[str, float] = {}
    for name, prior in priors.items():
        policy = learn(world.log, "sDM", prior)
        picked = policy.act(world.fresh)
        value = float(means[np.arange(len(means)), picked].mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OffPolicyWarning)
            bare = BanditLog(world.log.contexts, world.log.actions, world.log.rewards, None, len(world.theta))
            bare.reward = world.log.reward
            found = evaluate(bare, policy, ["sDM"], prior)["sDM"]
        out |= {f"{name}, loss": best - value, f"{name}, claim": found.value, f"{name}, value": value}
        out |= {
            f"{name}, error": abs(found.value - value),
            f"{name}, covered": float(found.lower < value < found.upper),
        }
    careful = learn(world.log, "LCB", chain).act(world.fresh)
    out["LCB, loss"] = best - float(means[np.arange(len(means)), careful].mean())
    return out


def measure_synthetic(settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """One prior, one instance and one log of `judged`."""
    K, d, L, n = (int(settings[name]) for name in ("num_actions", "dim", "depth", "num_rounds"))
    prior = random_linear_prior(d, L, seed=seed)
    rng = stream(seed, "history")
    contexts = rng.uniform(-1, 1, (n + _FRESH, d))
    theta, guess = prior.sample(rng, K), prior.sample(rng, K)
    world = logged_world(prior, theta, contexts, n, 1.0, rng, guess, float(settings["narrow"]))
    return judged(world)


def measure_ratings(settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """One draw of movies and one log of `judged`, with the prior that was fitted to other movies."""
    n = int(settings["num_rounds"])
    made = {name: value for name, value in settings.items() if name not in ("num_rounds", "narrow")}
    env: Any = gym.make("MovieLensBandit-v0", **made, horizon=n).unwrapped
    env.reset(seed=seed)
    rng = stream(seed, "history")
    users = env.next_contexts(env.begin_episode(np.random.default_rng(seed), None), n + _FRESH).astype(np.float64)
    prior = as_linear(env.problem.prior)
    assert prior is not None
    theta, noise = env.instance.parameters, env.problem.reward_model.noise_std
    guess = prior.sample(rng, len(theta))
    return judged(logged_world(prior, theta, users, n, noise, rng, guess, float(settings["narrow"])))


def _synthetic_cells(ask: Ask) -> list[LogCell]:
    quick = ask.profile == "quick"
    sizes = (10, 50) if quick else (10, 50, 100, 500, 1000, 5000)
    n, d, seeds = (300, 5, 3) if quick else (5000, 10, 20)
    cells = [
        LogCell(
            f"actions-{K}", K, measure_synthetic,
            {"num_actions": K, "dim": d, "depth": 2, "num_rounds": n, "narrow": 0.7}, seeds,
        )
        for K in sizes
    ]  # fmt: skip
    K = sizes[-2] if quick else 500
    narrow = {"num_actions": K, "dim": d, "depth": 2, "num_rounds": n, "narrow": 0.999}
    return [*cells, LogCell(f"narrow-actions-{K}", K, measure_synthetic, narrow, seeds)]


def _rating_cells(ask: Ask) -> list[LogCell]:
    quick = ask.profile == "quick"
    data = {} if ask.data is None else {"data": ask.data}
    sizes = ((20, 300),) if quick else ((100, 1000), (100, 5000), (500, 5000), (1000, 5000))
    return [
        LogCell(
            f"actions-{K}-rounds-{n}", K, measure_ratings,
            {"num_actions": K, "rank": 5, "min_ratings": 5, "num_rounds": n, "narrow": 0.7, **data}, 3 if quick else 20,
        )
        for K, n in sizes
    ]  # fmt: skip


_LOSSES = ("sDM, loss", "LCB, loss", "DM, loss", "marginal DM, loss")
_BETTER = (
    Contrast(
        "A policy learned under the structured prior loses less than one under independent actions.",
        "DM, loss",
        "sDM, loss",
        "loss of DM's greedy policy less sDM's",
    ),
    Contrast(
        "The structure is what helps: the same prior without sharing loses more.",
        "marginal DM, loss",
        "sDM, loss",
        "loss of the marginal prior's greedy policy less sDM's",
    ),
    Contrast(
        "The structured posterior knows the value of its own policy better.",
        "DM, error",
        "sDM, error",
        "error of DM's claim on its policy less sDM's",
    ),
)
STUDIES = (
    LogStudy(
        id="offpolicy-synthetic",
        claim=CLAIMS["offpolicy-synthetic"],
        description=(
            "Linear chains drawn for each seed, d=10, L=2, contexts uniform on the cube, noise 1. A log of 5000 rounds "
            "by 0.7 softmax of the rewards of another draw of the actions plus 0.3 uniform, for K from 10 to 5000; and "
            "0.999 softmax, which seldom plays most actions. Greedy policies are learned under the chain, N(0, I), and "
            "under the chain's marginal without sharing, and a pessimistic one (a standard deviation below the "
            "mean); losses against the best action are averages over 10 000 fresh contexts."
        ),
        make_cells=_synthetic_cells,
        contrasts=(
            *_BETTER,
            Contrast(
                "Where logging is narrow, pessimism loses less than the greedy policy.",
                "sDM, loss",
                "LCB, loss",
                "loss of sDM's greedy policy less that of its lower bounds",
                ("narrow-actions-50", "narrow-actions-10", "narrow-actions-500"),
            ),
        ),
        shown=_LOSSES,
        axes=("number of actions", "loss a round (mean of priors, ± standard error)"),
    ),
    LogStudy(
        id="offpolicy-ratings",
        claim=CLAIMS["offpolicy-ratings"],
        description=(
            "Movies of MovieLens that the prior is not fitted to, rank-5 factors; users are contexts, rewards are "
            "their centred ratings with the noise of the factorisation's residuals. Logs by 0.7 softmax of the rewards "
            "of a draw of the prior plus 0.3 uniform; policies and losses as in offpolicy-synthetic, under the chain "
            "that is fitted to the other movies."
        ),
        make_cells=_rating_cells,
        contrasts=_BETTER,
        shown=_LOSSES,
        axes=("number of movies", "loss in stars a round (mean of draws, ± standard error)"),
        uses_data=True,
    ),
)
