"""Elliptical slice sampling of a chain: an independent reference for the particles, without surrogates and tuning."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from dts_gym.posteriors.chain.chain import Chain, HasChain, as_chain
from dts_gym.posteriors.evidence import Evidence, condition, log_evidence, through_noise
from dts_gym.posteriors.glm.expansion import expand, fit_map
from dts_gym.posteriors.mcmc.convergence import effective_draws, split_r_hat
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.validation import finite_array, integer

# Number of prior draws from which the expansion point of an action's log-likelihood is found.
_GUIDE_DRAWS = 2000
# The share of the expansion used as the guide: the share left out keeps the tails of the remaining likelihood from
# growing.
_GUIDE_SHARE = 0.9


class SliceSamples(NamedTuple):
    """Draws of Markov chains, and measures of their reliability.

    Attributes
    ----------
    values : (num_samples, chains, ..., d) draws of ``f_1(psi_1)``, the mean of theta, or of the thetas themselves.
    r_hat : (..., d), split R-hat of ``values``: 1 where chains agree, above 1.01 where they should run longer.
    effective_draws : (..., d), the number of independent draws with the same standard error of the mean, all chains
        together.
    """

    values: Array
    r_hat: Array
    effective_draws: Array


def slice_sample(
    prior: HasChain,
    gamma: Array,
    beta: Array,
    rng: np.random.Generator,
    num_samples: int,
    *,
    thin: int = 1,
    burn_in: int = 500,
    chains: int = 16,
    branch: int = 0,
) -> SliceSamples:
    """Draw ``f_1(psi_1)`` from the chain's posterior, given quadratic evidence on it.

    Parameters
    ----------
    prior : a prior, or its chain.
    gamma, beta : (..., d, d) and (..., d), the evidence ``exp(-f' gamma f / 2 + beta' f)`` on ``f = f_1(psi_1)``: for
        each action the evidence after the noise ``Sigma_1`` (see `dts_gym.posteriors.evidence.through_noise`). With
        branch 0 the sum over the actions; else (K, d, d) and (K, d).
    rng : random generator for all draws.
    num_samples : number of kept draws of each chain.
    thin : number of steps from one kept draw to the next.
    burn_in : number of steps before the first kept draw.
    chains : number of Markov chains, run side by side from independent draws of the prior.
    branch : 0..L. At 0 and L rows of the evidence are independent problems, each with its own chains; between, all
        actions' levels depend on the shared ones and are drawn together.

    Returns
    -------
    SliceSamples
        The draws, with ``values`` (num_samples, chains, ..., d).

    Notes
    -----
    Exact in the limit of many steps, whatever the links. The state is the latents' standard normal innovations
    ``eps``, ``psi_{ell-1} = f_ell(psi_ell) + R_ell eps``, and the evidence is their likelihood. With sharp evidence the
    steps are small, and chains rarely move between distant modes: check ``r_hat``. A step costs some five evaluations
    of all links, in one pass over all chains; there is no Python loop over them.

    Source: Murray, Adams and MacKay, "Elliptical slice sampling" (2010).

    Raises
    ------
    ValueError
        If an argument has the wrong shape, is not finite, or is out of range.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> prior, rng = random_linear_prior(2, 1), np.random.default_rng(0)
    >>> found = slice_sample(prior, np.eye(2), np.ones(2), rng, 50, burn_in=50, chains=4)
    >>> found.values.shape, found.r_hat.shape
    ((50, 4, 2), (2,))
    """
    chain = as_chain(prior)
    depth, d = len(chain.links), chain.covariances[0].shape[0]
    integer("num_samples", num_samples, 4)
    integer("thin", thin, 1)
    integer("burn_in", burn_in, 0)
    integer("chains", chains, 1)
    integer("branch", branch, 0, depth)
    beta = finite_array("beta", beta, (*(None,) * (np.ndim(beta) - 1), d))
    lead = beta.shape[:-1]
    gamma = finite_array("gamma", gamma, (*lead, d, d))
    tree = 0 < branch < depth
    if tree and len(lead) != 1:
        raise ValueError(f"beta must have one row an action, (K, {d}), at branch {branch}, got shape {beta.shape}")

    if tree:
        target = QuadraticTarget(chain, Evidence(gamma, beta), branch, lead[0])
        rows = chains
    else:
        flat = Evidence(np.tile(gamma.reshape(-1, d, d), (chains, 1, 1)), np.tile(beta.reshape(-1, d), (chains, 1)))
        target = QuadraticTarget(chain, flat if lead else Evidence(gamma, beta), 0, None)
        rows = chains * math.prod(lead)
    kept = _walk(target, rows, rng, num_samples, thin, burn_in)
    values = kept.reshape(num_samples, chains, *lead, d)
    return SliceSamples(values, split_r_hat(values), effective_draws(values))


def slice_sample_rewards(
    prior: HasChain,
    model: RewardModel,
    contexts: Any,
    actions: Any,
    rewards: Any,
    num_actions: int,
    rng: np.random.Generator,
    num_samples: int,
    *,
    thin: int = 1,
    burn_in: int = 200,
    chains: int = 16,
) -> SliceSamples:
    """Draw all actions' parameters from the chain's posterior, given rewards by their own likelihood.

    Parameters
    ----------
    prior : a prior, or its chain, read at branch 0.
    model : distribution of a reward given ``x' theta``.
    contexts, actions, rewards : (n, d), (n,) and (n,) observations, n >= 0.
    num_actions : K, the number of actions.
    rng, num_samples, thin, burn_in, chains : as in `slice_sample`.

    Returns
    -------
    SliceSamples
        The draws of theta, with ``values`` (num_samples, chains, K, d).

    Notes
    -----
    Exact in the limit of many steps, whatever links and rewards. The state is the innovations of all levels, the
    thetas' too. Rewards of an action are expanded once, at a fixed point; the thetas' innovations are those of
    ``N(f_1(psi_1), Sigma_1)`` times a part of that quadratic, and the likelihood of a state is the rewards' own
    divided by that part. So the expansion decides how fast the chains mix, never what they converge to. A step costs
    some five evaluations of all links and O(n) log-likelihoods for each chain.

    Source: Murray, Adams and MacKay (2010); for the change of measure, Fagan, Bhandari and Cunningham, "Elliptical
    slice sampling with expectation propagation" (2016).

    Raises
    ------
    ValueError
        If an argument has the wrong shape, is out of range, or a reward is not of the family's support.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> from dts_gym.problem.rewards import BernoulliReward
    >>> prior, rng = random_linear_prior(2, 1), np.random.default_rng(0)
    >>> found = slice_sample_rewards(prior, BernoulliReward(), [[1.0, 0.0]], [2], [1], 3, rng, 50, chains=4)
    >>> found.values.shape, bool(found.values[..., 2, 0].mean() > 0)
    ((50, 4, 3, 2), True)
    """
    chain = as_chain(prior)
    K, d = integer("num_actions", num_actions, 1), chain.covariances[0].shape[0]
    integer("num_samples", num_samples, 4)
    integer("thin", thin, 1)
    integer("burn_in", burn_in, 0)
    integer("chains", chains, 1)
    X = finite_array("contexts", contexts, (None, d))
    y = model.check_all(finite_array("rewards", rewards, (len(X),)))
    if np.shape(actions) != (len(X),):
        raise ValueError(f"actions must have shape ({len(X)},), as rewards have, got shape {np.shape(actions)}")
    played = np.array([integer("actions", action, 0, K - 1) for action in actions], dtype=np.int64)
    target = _RewardTarget(chain, model, [(X[played == a], y[played == a]) for a in range(K)], rng)
    values = _walk(target, chains, rng, num_samples, thin, burn_in)
    return SliceSamples(values, split_r_hat(values), effective_draws(values))


class Likelihood(Protocol):
    """The part of a posterior that a slice step uses: its likelihood under standard normal innovations.

    Attributes
    ----------
    num_innovations : the number of innovations in each row.
    """

    num_innovations: int

    def __call__(self, innovations: Array, rows: IntArray | None = None) -> tuple[Array, Array]:
        """Values (B, ...) and log-likelihoods (B,) of innovations (B, num_innovations), which are ``rows``."""


class QuadraticTarget:
    """The likelihood of a chain's innovations under quadratic evidence on ``f_1(psi_1)``.

    Innovations are rows of all levels' ``eps``, top first, ``psi_{ell-1} = f_ell(psi_ell) + R_ell eps``.

    Parameters
    ----------
    chain : links, covariances and their roots.
    evidence : one row for each row of innovations, or no rows (the same for all), or, with ``num_actions``, one row for
        each action.
    branch : levels above this one are shared by all actions; used only with ``num_actions``.
    num_actions : K, where a row of innovations holds the levels of K actions; None: those of one action.
    """

    def __init__(self, chain: Chain, evidence: Evidence, branch: int, num_actions: int | None) -> None:
        self.chain, self.evidence, self.branch, self.num_actions = chain, evidence, branch, num_actions
        self.depth = len(chain.links)
        self._widths = [self._copies(ell) * chain.roots[ell].shape[1] for ell in range(self.depth, 0, -1)]
        self.num_innovations = sum(self._widths)

    def _copies(self, ell: int) -> int:
        return self.num_actions if self.num_actions is not None and ell <= self.branch else 1

    def __call__(self, innovations: Array, rows: IntArray | None = None) -> tuple[Array, Array]:
        """Values ``f_1(psi_1)`` (B, [K,] d) and log-likelihoods (B,); ``rows`` says which rows of evidence."""
        B = len(innovations)
        start = 0
        mean = np.zeros((B, self.chain.covariances[0].shape[0]))
        for ell, width in zip(range(self.depth, 0, -1), self._widths, strict=True):
            root = self.chain.roots[ell]
            eps = innovations[:, start : start + width]
            start += width
            if self.num_actions is not None and ell <= self.branch:
                eps = eps.reshape(B, self.num_actions, root.shape[1])
                mean = mean if ell < self.branch else mean[:, None]
            mean = self.chain.links[ell - 1](mean + eps @ root.T)
        if self.num_actions is not None:
            return mean, log_evidence(self.evidence, mean[..., None, :])[..., 0].sum(axis=-1)
        if self.evidence.h.ndim == 1:
            return mean, log_evidence(self.evidence, mean)
        G, h = self.evidence if rows is None else (self.evidence.G[rows], self.evidence.h[rows])
        return mean, log_evidence(Evidence(G, h), mean[:, None])[:, 0]


class _RewardTarget:
    """Likelihood of all innovations, the latents' and then the thetas', given every action's contexts and rewards."""

    def __init__(
        self, chain: Chain, model: RewardModel, rounds: list[tuple[Array, Array]], rng: np.random.Generator
    ) -> None:
        self._model, self._rounds = model, rounds
        self._quadratic = isinstance(model, GaussianReward)
        K, d, cov = len(rounds), chain.covariances[0].shape[0], chain.covariances[0]
        prior = QuadraticTarget(chain, Evidence(np.zeros((d, d)), np.zeros(d)), 0, None)
        drawn = prior(rng.standard_normal((_GUIDE_DRAWS, prior.num_innovations)))[0]
        mean, root = drawn.mean(axis=0), factor(np.atleast_2d(np.cov(drawn.T)) + cov)
        points = [fit_map(model, X, y, mean, root, np.zeros(root.shape[1])) for X, y in rounds]
        expanded = [expand(model, X, y, point) for (X, y), point in zip(rounds, points, strict=True)]
        share = 1.0 if self._quadratic else _GUIDE_SHARE
        self._guide = Evidence(
            share * np.array([G for G, _ in expanded]), share * np.array([h for _, h in expanded])
        )  # (K, d, d), (K, d)
        gamma, beta = through_noise(*self._guide, cov)
        self._latents = QuadraticTarget(chain, Evidence(gamma.sum(axis=0), beta.sum(axis=0)), 0, None)
        # theta_a = gain_a f + shift_a + root_a z
        self._shift, self._root = condition(np.zeros((K, d)), self._guide, cov)  # (K, d), (K, d, r)
        self._gain = np.eye(d) - self._root @ np.swapaxes(self._root, -1, -2) @ self._guide.G  # (K, d, d)
        self.num_innovations = self._latents.num_innovations + K * self._root.shape[-1]

    def __call__(self, innovations: Array, rows: IntArray | None = None) -> tuple[Array, Array]:
        """Thetas (B, K, d) and log-likelihoods (B,)."""
        B, start = len(innovations), self._latents.num_innovations
        mean, density = self._latents(innovations[:, :start])
        z = innovations[:, start:].reshape(B, len(self._rounds), -1)
        theta = np.einsum("kij,bj->bki", self._gain, mean) + self._shift + np.einsum("kir,bkr->bki", self._root, z)
        if not self._quadratic:
            density = density - log_evidence(self._guide, theta[:, :, None])[..., 0].sum(axis=1)
            for a, (X, y) in enumerate(self._rounds):
                density = density + self._model.log_likelihood(y, theta[:, a] @ X.T).sum(axis=1)
        return theta, density


def _walk(target: Likelihood, rows: int, rng: np.random.Generator, num_samples: int, thin: int, burn_in: int) -> Array:
    """Kept values, (num_samples, rows, ...), of rows that start from standard normal innovations."""
    state = rng.standard_normal((rows, target.num_innovations))
    value, density = target(state)
    kept = []
    for step in range(burn_in + num_samples * thin):
        state, value, density = elliptical_step(target, state, value, density, rng)
        if step >= burn_in and (step - burn_in + 1) % thin == 0:
            kept.append(value)
    return np.array(kept)


def elliptical_step(
    target: Likelihood, state: Array, value: Array, density: Array, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """One slice step of independent Markov chains.

    Parameters
    ----------
    target : likelihood of the innovations.
    state : (B, target.num_innovations) states of the chains; not changed.
    value, density : (B, ...) and (B,), the results of ``target`` there.
    rng : random generator of the step.

    Returns
    -------
    state, value, density
        The same after the step, in new arrays.

    Notes
    -----
    The step leaves the posterior invariant. Rows that have accepted are left out of the later evaluations, some five
    for each step.
    """
    B = len(state)
    state, value, density = state.copy(), value.copy(), density.copy()
    other = rng.standard_normal(state.shape)
    origin = state.copy()
    threshold = density - rng.exponential(size=B)
    angle = rng.uniform(0.0, 2.0 * np.pi, B)
    low, high = angle - 2.0 * np.pi, angle.copy()
    waiting: IntArray = np.arange(B)
    while waiting.size:
        now = angle[waiting, None]
        proposal = origin[waiting] * np.cos(now) + other[waiting] * np.sin(now)
        new_value, new_density = target(proposal, waiting)
        accepted = new_density > threshold[waiting]
        done = waiting[accepted]
        state[done], value[done], density[done] = proposal[accepted], new_value[accepted], new_density[accepted]
        waiting = waiting[~accepted]
        behind = angle[waiting] < 0.0
        low[waiting] = np.where(behind, angle[waiting], low[waiting])
        high[waiting] = np.where(behind, high[waiting], angle[waiting])
        angle[waiting] = rng.uniform(low[waiting], high[waiting])
    return state, value, density
