"""Two more ways to play by the posterior of dTS: information-directed sampling (IDS), and its mean (Greedy)."""

from __future__ import annotations

import numpy as np

from dts_gym.agents.approximations import Approximation
from dts_gym.agents.diffusion import ChainAgent
from dts_gym.posteriors.action_table import Dtype
from dts_gym.posteriors.chain.branched_levels import Pool
from dts_gym.posteriors.chain.chain_posterior import Surrogate
from dts_gym.posteriors.exploration import Setting
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.information import information_directed
from dts_gym.posteriors.ranking import ranked_means
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.seeding import Seed
from dts_gym.utils.validation import MOST, integer


class DiffusionIDS(ChainAgent):
    """Information-directed sampling on dTS's posterior: weighs regret against what is learned about the best action.

    Parameters
    ----------
    num_draws : number of posterior draws of a choice, at least 2, from which regrets and variances are estimated.
    exploration : factor on the standard deviations of these draws, "decay" or a function of ``(t, n)``.
    problem, seed, horizon, branch, noise_std, approximation, num_particles, num_steps, num_shared_draws,
        surrogate : as in `ChainAgent`.
    expansion, pool_size, pool, dtype : as in `ChainAgent`.

    Notes
    -----
    Each choice estimates every action's expected regret, and the variance of its expected reward over what the best
    action may be, see ``dts_gym.posteriors.information``. It then plays one of two actions, by the mixture whose
    squared regret over variance is least. Unplayed actions have the same distribution and cost nothing. Where rewards
    are not Gaussian the regrets and variances are those of mean rewards ``g(x' theta_a)``. A choice costs O(P d^2) and
    O(M P) for M draws and P played actions, times the number of winners among the draws: with 100 actions in 5
    dimensions a round takes as long as three of dTS. The estimates of a choice have a random error, larger for
    variances than for regrets where many actions may be best, and make the agent explore more than exact ones would:
    the agent is here for comparisons, with some hundred actions at most.

    Source: Russo and Van Roy, "Learning to Optimize via Information-Directed Sampling" (2018).

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5, dim=3)
    >>> dts_gym.make_agent("IDS", env, seed=0, num_draws=100).num_draws
    100
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        num_draws: int = 64,
        exploration: Setting = 1.0,
        horizon: int | None = None,
        branch: int | None = None,
        noise_std: float | None = None,
        approximation: Approximation | None = None,
        num_particles: int | None = None,
        num_steps: int | None = None,
        num_shared_draws: int = 1,
        surrogate: Surrogate | None = None,
        expansion: Mode = "map",
        pool_size: int = 10_000,
        pool: Pool = "fresh",
        dtype: Dtype = "float64",
    ) -> None:
        self.num_draws = integer("num_draws", num_draws, 2, most=MOST)
        super().__init__(
            problem,
            seed=seed,
            exploration=exploration,
            horizon=horizon,
            branch=branch,
            noise_std=noise_std,
            approximation=approximation,
            num_particles=num_particles,
            num_steps=num_steps,
            num_shared_draws=num_shared_draws,
            surrogate=surrogate,
            expansion=expansion,
            pool_size=pool_size,
            pool=pool,
            dtype=dtype,
        )
        self._settings["num_draws"] = self.num_draws

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        if not self._is_single(contexts):
            return np.array([self._choose(x, rng, mask) for x in contexts], dtype=np.int64)
        scale, model = self.exploration_scale, self.reward_model
        draws = self._posterior.reward_draws(contexts, rng, scale, self.num_draws, model, mask)
        return np.asarray(information_directed(draws, rng))


class DiffusionGreedy(ChainAgent):
    """The action of the largest mean under the posterior of dTS; of tied actions any.

    Parameters
    ----------
    problem, seed, branch, noise_std, approximation, num_particles, num_steps, num_shared_draws,
        surrogate : as in `ChainAgent`.
    expansion, pool_size, pool, dtype : as in `ChainAgent`.

    Notes
    -----
    The mean is that of ``x' theta_a``, also where rewards are not Gaussian, as in `predict` with
    ``deterministic=True``. Play is a function of the data: without exploration it can stay with a bad action for ever;
    where contexts are diverse, they make the agent try other actions. A choice costs one pass over the played actions'
    packed matrices.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5, dim=3)
    >>> agent = dts_gym.make_agent("Greedy", env, seed=0)
    >>> agent.update([1.0, 0.0, 0.0], 2, 9.0)
    >>> agent.act([1.0, 0.0, 0.0])
    2
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        branch: int | None = None,
        noise_std: float | None = None,
        approximation: Approximation | None = None,
        num_particles: int | None = None,
        num_steps: int | None = None,
        num_shared_draws: int = 1,
        surrogate: Surrogate | None = None,
        expansion: Mode = "map",
        pool_size: int = 10_000,
        pool: Pool = "fresh",
        dtype: Dtype = "float64",
    ) -> None:
        super().__init__(
            problem,
            seed=seed,
            exploration=1.0,
            horizon=None,
            branch=branch,
            noise_std=noise_std,
            approximation=approximation,
            num_particles=num_particles,
            num_steps=num_steps,
            num_shared_draws=num_shared_draws,
            surrogate=surrogate,
            expansion=expansion,
            pool_size=pool_size,
            pool=pool,
            dtype=dtype,
        )
        del self._settings["exploration"]

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.greedy(contexts, mask, rng)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return ranked_means(self._posterior, context, rng, mask, size)
