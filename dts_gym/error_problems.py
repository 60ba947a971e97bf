"""Histories on which posterior draws are held against the truth, and the truth itself.

A history is an instance drawn from a prior, with contexts, actions and rewards. Its true posterior is the dense one
where the model is linear and Gaussian, elsewhere that of Markov chains under the rewards' own likelihood; neither uses
the agents' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from dts_gym.arrays import Array, IntArray
from dts_gym.joint import JointPosterior
from dts_gym.priors import DiffusionPrior, LinearDiffusionPrior, Prior, random_linear_prior, random_mlp_prior
from dts_gym.problem import BanditProblem
from dts_gym.rewards import GaussianReward, reward_model
from dts_gym.seeding import seed_sequence, stream
from dts_gym.slice_sampling import slice_sample_rewards

# Above this the Markov chains have not converged, and there is no truth.
R_HAT_LIMIT = 1.05
# Of the Markov chains: kept draws a chain, steps before the first, steps between: doubled, up to the last, until R-hat
# is below this. With so few draws a chain R-hat tells of dependent draws, not only of chains apart: with independent
# ones and 150 chains the worst of ten coordinates is about 1.015. The fewest chains of the control, a third of all.
_KEPT, _BURN_IN, _THIN, _MOST_THIN, _INDEPENDENT, _FEWEST = 10, 60, 15, 240, 1.03, 50


@dataclass(frozen=True)
class Method:
    """Settings of dTS, and their name in the table."""

    label: str
    settings: Mapping[str, Any]


CLOSED_FORM = Method("closed form", {})
ONLINE = Method("online", {"expansion": "online"})
MLE = Method("mle", {"expansion": "mle"})
DECK = Method("deck", {"approximation": "deck"})
LINEARISED = Method("linearised", {"approximation": "linearised"})  # the law, and the draws, of one particle
PARTICLES = tuple(Method(f"{P} particles", {"approximation": "particles", "num_particles": P}) for P in (8, 32))
METHODS = (CLOSED_FORM, ONLINE, MLE, DECK, LINEARISED, *PARTICLES)


@dataclass(frozen=True)
class ErrorProblem:
    """A law of histories, and the methods that learn them.

    Parameters
    ----------
    name : part of the random streams.
    link : of the chain: weights uniform on [-1, 1], redrawn with every history.
    reward : family; Gaussian rewards have standard deviation 1.
    methods : of dTS.
    num_actions, dim, depth : K, d, L.
    scale : standard deviation of the noise of every level.
    """

    name: str
    link: Literal["linear", "mlp"]
    reward: str
    methods: tuple[Method, ...]
    num_actions: int = 5
    dim: int = 2
    depth: int = 2
    scale: float = 1.0

    def prior(self, seed: np.random.SeedSequence) -> Prior:
        """The chain of one history."""
        covariances = [self.scale**2 * np.eye(self.dim)] * (self.depth + 1)
        if self.link == "linear":
            chain = random_linear_prior(self.dim, self.depth, seed=seed)
            return LinearDiffusionPrior(chain.weights, covariances)
        return DiffusionPrior(random_mlp_prior(self.dim, self.depth, seed=seed).links, covariances)


# Poisson rewards: at scale 1 the largest count of a history of 1000 is above 100 in one of ten, and up to 1500 in 200;
# half of that keeps it to about 8, and below 40.
PROBLEMS = {
    problem.name: problem
    for problem in (
        ErrorProblem("linear", "linear", "gaussian", (CLOSED_FORM, DECK, LINEARISED, PARTICLES[1])),
        ErrorProblem("mlp", "mlp", "gaussian", (DECK, LINEARISED, *PARTICLES)),
        ErrorProblem("bernoulli", "linear", "bernoulli", (CLOSED_FORM, ONLINE, MLE, DECK, PARTICLES[1])),
        ErrorProblem("poisson", "linear", "poisson", (CLOSED_FORM, ONLINE, MLE, DECK, PARTICLES[1]), scale=0.5),
        ErrorProblem("mlp-bernoulli", "mlp", "bernoulli", (DECK, LINEARISED, *PARTICLES)),
    )
}


class History(NamedTuple):
    """A prior, and what was seen of an instance of it: (n, d), (n,) and (n,)."""

    problem: BanditProblem
    contexts: Array
    actions: IntArray
    rewards: Array


class Truth(NamedTuple):
    """Draws of the true posterior, (m, K d) and (n, K d), independent of each other, and the worst R-hat."""

    draws: Array
    control: Array
    r_hat: float


def make_history(problem: ErrorProblem, length: int, seed: np.random.SeedSequence) -> History:
    """A history of ``length`` observations; a shorter one is its beginning. Contexts are uniform on [-1, 1]^d."""
    K, d = problem.num_actions, problem.dim
    bandit = BanditProblem(K, d, problem.prior(seed_sequence(seed, "prior")), reward_model(problem.reward))
    theta = bandit.prior.sample(stream(seed, "instance"), K)
    contexts = stream(seed, "contexts").uniform(-1.0, 1.0, (length, d))
    actions = stream(seed, "history").integers(K, size=length)
    predictors = (contexts * theta[actions]).sum(axis=1)
    return History(bandit, contexts, actions, bandit.reward_model.sample(stream(seed, "noise"), predictors))


def true_posterior(history: History, length: int, draws: int, rng: np.random.Generator) -> Truth:
    """Draws of the posterior after the first ``length`` observations, ``2 draws`` and ``draws`` of them.

    Notes
    -----
    Linear chains with Gaussian rewards: exact, independent draws of the dense posterior. Elsewhere Markov chains of ten
    draws each, thinned until R-hat is below 1.03 or the longest thinning is reached: near independent draws.
    """
    bandit, X, actions, rewards = history.problem, *(part[:length] for part in history[1:])
    K, model = bandit.num_actions, bandit.reward_model
    if isinstance(bandit.prior, LinearDiffusionPrior) and isinstance(model, GaussianReward):
        dense = JointPosterior(bandit.prior, K, model.noise_std)
        for x, a, y in zip(X, actions.tolist(), rewards.tolist(), strict=True):
            dense.update(x, a, y)
        sample = np.array([dense.sample_parameters(rng).ravel() for _ in range(3 * draws)])
        return Truth(sample[: 2 * draws], sample[2 * draws :], 1.0)
    own = max(-(-draws // _KEPT), _FEWEST)  # chains of the control; the truth has twice as many
    thin = _THIN
    while True:
        found = slice_sample_rewards(
            bandit.prior, model, X, actions, rewards, K, rng, _KEPT, thin=thin, burn_in=_BURN_IN, chains=3 * own
        )
        r_hat = float(found.r_hat.max())
        if r_hat <= _INDEPENDENT or thin == _MOST_THIN:
            break
        thin *= 2
    D = K * bandit.dim
    first, second = (part.reshape(-1, D) for part in (found.values[:, own:], found.values[:, :own]))  # share no chain
    return Truth(first[: 2 * draws], second[:draws], r_hat)
