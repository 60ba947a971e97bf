"""Histories on which posterior draws are compared with the true posterior, and that posterior itself.

A history is an instance drawn from a prior, with contexts, actions and rewards. Its true posterior is the dense one
where the model is linear and Gaussian, for priors pre-trained on a shape that of a pool of their draws, elsewhere that
of Markov chains under the rewards' own likelihood; none of them uses the agents' code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dts_gym.datasets.shapes import sample_shape
from dts_gym.diagnostics.error_problems import ErrorProblem
from dts_gym.diagnostics.reweighted_prior import PriorPool, draw_pool, sample_pool
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample_rewards
from dts_gym.pretraining.learning import fit
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.prior import Prior, as_chain_prior
from dts_gym.problem.contexts import draw_features
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, reward_model
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import seed_sequence, stream

# With an R-hat above this the Markov chains have not converged, and the truth is unreliable.
R_HAT_LIMIT = 1.05
# Settings of the Markov chains: kept draws of a chain, steps before the first, steps between (doubled, up to the last,
# until R-hat is below the next number). With so few draws in a chain R-hat detects dependent draws, not only chains
# that disagree: with independent draws and 150 chains the largest of ten coordinates is about 1.015. Last, the least
# number of chains of the control, a third of all.
_KEPT, _BURN_IN, _THIN, _MOST_THIN, _INDEPENDENT, _FEWEST = 10, 60, 15, 240, 1.03, 50
# Number of draws of a shape that a prior learns from, and of chains in its pool for each draw of a method. After 1000
# observations the effective sample size is 1 to 10 % of the pool, 3 to 30 times the truth's number of draws.
_PAST, _POOL = 10_000, 600


class History(NamedTuple):
    """A prior and observations of an instance: contexts (n, d), or (n, K, d), actions (n,) and rewards (n,)."""

    problem: BanditProblem
    contexts: Array
    actions: IntArray
    rewards: Array


class Truth(NamedTuple):
    """Draws of the true posterior, and measures of their reliability.

    Attributes
    ----------
    draws, control : (m, D) and (n, D) draws, independent of each other; D = K d, or d for a shared parameter.
    sampler : "dense", "chains" or "pool".
    r_hat : the largest R-hat of Markov chains, else 1.
    effective_draws : the effective sample size of a pool's weights, else infinite.
    """

    draws: Array
    control: Array
    sampler: str
    r_hat: float = 1.0
    effective_draws: float = math.inf

    @property
    def trusted(self) -> bool:
        """Whether chains have converged, or a pool's own error is below that of the draws."""
        return self.r_hat <= R_HAT_LIMIT and self.effective_draws >= len(self.draws)


def pretrained_pool(problem: ErrorProblem, draws: int, *, progress: bool = False) -> PriorPool:
    """Learn the prior of a problem with a shape from 10 000 draws of it, and make a pool for ``draws`` of a posterior.

    Notes
    -----
    The schedule is that of Kveton et al., 0.97 a step. Training the network needs half a minute (and
    torch, else ImportError), as does a pool of 300 000; both are always the same.
    """
    if problem.shape is None:
        raise ValueError(f"problem must have a shape, got {problem.name!r}, which has none")
    theta = sample_shape(problem.shape, stream(0, "past-parameters"), _PAST, problem.dim)
    prior = fit(theta, problem.depth, schedule="constant", progress=progress)
    return draw_pool(prior, _POOL * draws, stream(0, "prior"))


def make_history(
    problem: ErrorProblem, length: int, seed: np.random.SeedSequence, prior: Prior | None = None
) -> History:
    """Draw a history of ``length`` observations; a shorter one is its beginning. Contexts are uniform on [-1, 1]^d.

    ``prior`` is the pre-trained prior of a problem with a shape, and None for the others.
    """
    K, d = problem.num_actions, problem.dim
    model = reward_model(problem.reward)
    if prior is not None:
        shared = BanditProblem(K, d, prior, model, features="shared")
        parameter = prior.sample(stream(seed, "instance"), 1)[0]
        features = draw_features("ball", (K, d), stream(seed, "contexts"), length).astype(np.float64)
        actions = stream(seed, "history").integers(K, size=length)
        predictors = features[np.arange(length), actions] @ parameter
        return History(shared, features, actions, model.sample(stream(seed, "noise"), predictors))
    bandit = BanditProblem(K, d, problem.prior(seed_sequence(seed, "prior")), model)
    theta = bandit.prior.sample(stream(seed, "instance"), K)
    contexts = stream(seed, "contexts").uniform(-1.0, 1.0, (length, d))
    actions = stream(seed, "history").integers(K, size=length)
    predictors = (contexts * theta[actions]).sum(axis=1)
    return History(bandit, contexts, actions, model.sample(stream(seed, "noise"), predictors))


def true_posterior(
    history: History, length: int, draws: int, rng: np.random.Generator, pool: PriorPool | None = None
) -> Truth:
    """Draw twice from the posterior after the first ``length`` observations, ``2 draws`` and ``draws`` times.

    Notes
    -----
    A shared parameter with Gaussian rewards has draws of the prior's ``pool``, reweighted. Linear chains with Gaussian
    rewards have exact, independent draws of the dense posterior. Others have Markov chains of ten draws each, thinned
    until R-hat is below 1.03 or the longest thinning is reached, which are nearly independent draws.
    """
    bandit, actions = history.problem, history.actions[:length]
    X, rewards = history.contexts[:length], history.rewards[:length]
    K, model = bandit.num_actions, bandit.reward_model
    if bandit.features == "shared":
        if pool is None or not isinstance(model, GaussianReward):
            raise ValueError(f"history must have a pool and Gaussian rewards where features are shared, got {model!r}")
        played = X[np.arange(length), actions]
        theta, effective = sample_pool(pool, played, rewards, model.noise_std, 3 * draws, rng)
        return Truth(theta[: 2 * draws], theta[2 * draws :], "pool", effective_draws=effective)
    if isinstance(bandit.prior, LinearDiffusionPrior) and isinstance(model, GaussianReward):
        dense = JointPosterior(bandit.prior, K, model.noise_std)
        for x, a, y in zip(X, actions.tolist(), rewards.tolist(), strict=True):
            dense.update(x, a, y)
        sample = dense.sample_parameters(rng, size=3 * draws).reshape(3 * draws, -1)
        return Truth(sample[: 2 * draws], sample[2 * draws :], "dense")
    chain = as_chain_prior(bandit.prior)
    own = max(-(-draws // _KEPT), _FEWEST)  # number of chains of the control; the truth has twice as many
    thin = _THIN
    while True:
        found = slice_sample_rewards(
            chain, model, X, actions, rewards, K, rng, _KEPT, thin=thin, burn_in=_BURN_IN, chains=3 * own
        )
        r_hat = float(found.r_hat.max())
        if r_hat <= _INDEPENDENT or thin == _MOST_THIN:
            break
        thin *= 2
    D = K * bandit.dim
    first, second = (part.reshape(-1, D) for part in (found.values[:, own:], found.values[:, :own]))  # disjoint chains
    return Truth(first[: 2 * draws], second[:draws], "chains", r_hat)
