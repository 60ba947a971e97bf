r"""The twisted particle filter: draws of a chain with links that are not affine, given quadratic evidence.

Surrogates (`dts_gym.surrogates`) give every level a guess of what the data say about it, the messages. Particles go
down the chain, each step drawn from the prior's step times the guess; weights make up for the guesses' errors. Level
by level, for ``f = f_l(psi_l)``, with ``(Gamma_l, beta_l)`` on ``f`` and ``(G_l, h_l)`` on ``psi_l``:

    log w += (-f' Gamma_l f / 2 + beta_l' f) - (-psi_l' G_l psi_l / 2 + h_l' psi_l)

The message on the last value must be the data's own; then the filter is consistent in the number of particles for the
chain's posterior given the quadratic evidence, whatever the surrogates. For affine links that are their own surrogates
all weights are equal, and one particle is an exact draw.

Defensive draws. A mode that no particle visits leaves no trace in the weights. So a share ``a`` of the particles can
walk by the prior alone, from the top or from the last resampling on. Let ``Z(f) = int N(v; f, Sigma) m(v) dv`` be the
normaliser of a guided step, ``m(v) = exp(-v'Gv/2 + h'v)``, and ``R = prod m(psi) / Z(f)`` over the steps walked since:
the density of guided walks relative to the prior's. Particles, whichever way they walk, come from the mixture of
density ``(1 - a) R + a`` relative to the prior. The target of the stage, relative to the same prior, is
``T = exp(-f' Gamma f / 2 + beta' f)`` at the level reached, divided by the same at the last resampling. So

    log w = log T - log((1 - a) R + a),

exact, bounded by ``T / a``, and the sum above where ``a = 0``. The share is stratified: the nearest whole number of
particles, in random places.

Exploration ``e`` tempers the model: every ``Sigma`` times e^2, all evidence divided by e^2. Messages stay those of
e = 1, for all of them divide by e^2 with the evidence.

Source: Whiteley and Lee, "Twisted particle filters" (2014); Guarniero, Johansen and Lee, "The iterated auxiliary
particle filter" (2017); for the mixture, Hesterberg, "Weighted average importance sampling and defensive mixture
distributions" (1995).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.arrays import Array, IntArray, integer, positive
from dts_gym.links import finite_value
from dts_gym.messages import Evidence, through_noise
from dts_gym.surrogates import AffineMap, Chain, HasChain, Messages, as_chain, log_evidence, upward_messages

BoolArray = NDArray[np.bool_]

# The share of defensive draws for each surrogate. In five dimensions a quarter took the energy distance to the truth
# down for all three: tangents see one mode, and where the others point far off only bounded weights recover.
DEFENSIVE_SHARES = {"jacobian": 0.25, "statistical": 0.25, "deck": 0.25}


class Particles(NamedTuple):
    """Weighted particles of the lowest level that a filter reached.

    Attributes
    ----------
    psi : (..., P, d), the latent.
    value : (..., P, d), its link's value ``f(psi)``, the mean of the next level.
    log_weights : (..., P), their exponentials sum to one.
    effective_sample_size : (...), the least over the levels, before resampling, relative to P: 1/P to 1. A gauge of
        the surrogates' error; necessary, not sufficient.
    """

    psi: Array
    value: Array
    log_weights: Array
    effective_sample_size: Array


class _Guide(NamedTuple):
    """A guided step ``N(f, Sigma)`` times ``m``: mean ``gain f + shift``, covariance ``root root'``."""

    gain: Array  # (..., d, d)
    shift: Array  # (..., d)
    root: Array  # (..., d, r)
    log_constant: Array  # (...), log Z(f) less the quadratic form in f


def default_defensive(prior: HasChain, surrogate: str) -> float:
    """The share of defensive draws for a surrogate by name: none where all links are affine.

    Examples
    --------
    >>> from dts_gym.priors import random_linear_prior
    >>> default_defensive(random_linear_prior(2, 1), "jacobian")
    0.0
    """
    if surrogate not in DEFENSIVE_SHARES:
        raise ValueError(f"surrogate must be one of {', '.join(DEFENSIVE_SHARES)}, got {surrogate!r}")
    return 0.0 if all(link.affine for link in prior.links) else DEFENSIVE_SHARES[surrogate]


def sample_shared(
    prior: HasChain,
    messages: Messages,
    branch: int,
    num_particles: int,
    rng: np.random.Generator,
    *,
    size: int = 1,
    exploration: float = 1.0,
    defensive: float = 0.0,
    resampling: str = "systematic",
) -> Particles:
    """Independent filters of the shared levels, L down to ``branch + 1``.

    Parameters
    ----------
    prior : a prior, or its chain (faster).
    messages : of `upward_messages`, at the same branch.
    branch : 0..L-1.
    num_particles : P, per filter.
    rng : of the draws.
    size : n, the number of filters.
    exploration : e, positive.
    defensive : share of draws from the prior, 0 <= share < 1, rounded to whole particles.
    resampling : "systematic" or "multinomial", where the effective sample size is below P/2.

    Returns
    -------
    Particles
        (n, ..., P, d): ``psi_{branch+1}`` and ``f_{branch+1}`` of it, (...) the messages' leading axes if any.

    Notes
    -----
    With branch 0, consistent in P for the chain's posterior given the evidence; with a larger branch approximate,
    for the actions' messages went through surrogates. With no data it is the prior, exactly. O(n P L d^2) and
    n P L link evaluations.

    Raises
    ------
    ValueError
        If an argument is out of its range or a link's value is not finite.

    Examples
    --------
    >>> from dts_gym.priors import random_linear_prior
    >>> from dts_gym.surrogates import statistical_surrogates
    >>> prior, rng = random_linear_prior(3, 2), np.random.default_rng(0)
    >>> message = Evidence(np.eye(3), np.ones(3))
    >>> messages = upward_messages(prior, statistical_surrogates(prior, rng), message)
    >>> particles = sample_shared(prior, messages, 0, 4, rng, size=2)
    >>> particles.value.shape, particles.effective_sample_size
    ((2, 4, 3), array([1., 1.]))
    """
    chain = as_chain(prior)
    depth = len(chain.links)
    integer("branch", branch, 0, depth - 1)
    mean = np.zeros((integer("size", size, 1), *(1,) * messages.latents[-1].h.ndim, chain.covariances[0].shape[0]))
    levels = range(depth, branch, -1)
    return _filtered(chain, messages, levels, mean, num_particles, rng, exploration, defensive, resampling)


def sample_actions(
    prior: HasChain,
    messages: Messages,
    branch: int,
    parents: Array | None,
    num_particles: int,
    rng: np.random.Generator,
    *,
    size: int = 1,
    exploration: float = 1.0,
    defensive: float = 0.0,
    resampling: str = "systematic",
) -> Particles:
    """A filter an action of its own levels, ``branch`` down to 1, given the shared part.

    Parameters
    ----------
    prior, num_particles, rng, exploration, defensive, resampling : as in `sample_shared`.
    messages : of `upward_messages`, at the same branch: one row an action up to it.
    branch : 1..L.
    parents : (n, d), ``f_{branch+1}(psi_{branch+1})``, drawn by `pick`; None at branch L, where nothing is shared.
    size : n, where ``parents`` is None.

    Returns
    -------
    Particles
        (n, K, P, d): ``psi_1`` and ``f_1(psi_1)`` of each action.

    Notes
    -----
    Consistent in P for an action's chain given its parent and its evidence. O(n K P branch d^2).
    """
    chain = as_chain(prior)
    depth, d = len(chain.links), chain.covariances[0].shape[0]
    integer("branch", branch, 1, depth)
    if (parents is None) != (branch == depth):
        raise ValueError(f"parents must be None exactly where branch is the depth {depth}, got branch {branch}")
    parents = np.zeros((integer("size", size, 1), d)) if parents is None else parents
    mean = parents[..., None, None, :]
    return _filtered(
        chain, messages, range(branch, 0, -1), mean, num_particles, rng, exploration, defensive, resampling
    )


def pick(particles: Particles, rng: np.random.Generator) -> Array:
    """The value of one particle of each filter, by weight: (..., d)."""
    cumulative = np.exp(particles.log_weights).cumsum(axis=-1)
    threshold = rng.random(cumulative.shape[:-1]) * cumulative[..., -1]
    index = (cumulative <= threshold[..., None]).sum(axis=-1)
    return np.asarray(np.take_along_axis(particles.value, index[..., None, None], axis=-2)[..., 0, :])


def sample_thetas(
    prior: HasChain,
    surrogates: Sequence[AffineMap],
    evidence: Evidence,
    branch: int,
    num_particles: int,
    rng: np.random.Generator,
    *,
    size: int = 1,
    exploration: float = 1.0,
    defensive: float = 0.0,
) -> tuple[Array, Array]:
    """Posterior draws of all actions' parameters, each from filters of its own.

    Parameters
    ----------
    surrogates : L maps.
    evidence : on theta, (K, d, d) and (K, d); zeros for actions without data.
    others : as in `sample_shared`.

    Returns
    -------
    (n, K, d), (n,)
        The draws, and the least effective sample size of the filters behind each, relative to P.

    Notes
    -----
    For small K: an agent keeps tables of messages and draws played actions only. Consistent in P at branch 0 and L;
    between, the shared part is approximate (see `sample_shared`).
    """
    chain = as_chain(prior)
    depth = len(chain.links)
    message = through_noise(*evidence, chain.covariances[0])
    if branch == 0:
        message = Evidence(message.G.sum(axis=0), message.h.sum(axis=0))
    messages = upward_messages(chain, surrogates, message, branch)
    parents, sizes = None, []
    if branch < depth:
        shared = sample_shared(
            chain, messages, branch, num_particles, rng, size=size, exploration=exploration, defensive=defensive
        )
        parents = pick(shared, rng)
        sizes.append(shared.effective_sample_size)
    if branch == 0:
        assert parents is not None
        mean = parents[:, None]  # (n, 1, d)
    else:
        own = sample_actions(
            chain,
            messages,
            branch,
            parents,
            num_particles,
            rng,
            size=size,
            exploration=exploration,
            defensive=defensive,
        )
        mean = pick(own, rng)  # (n, K, d)
        sizes.append(own.effective_sample_size.min(axis=-1))
    guide = _guide(evidence, chain.roots[0], exploration)
    theta = _walk(mean[..., None, :], guide, 1, rng, exploration)[..., 0, :]
    return theta, np.min(sizes, axis=0)


def resample(log_weights: Array, rng: np.random.Generator, method: str = "systematic") -> IntArray:
    """Ancestors of equally weighted particles.

    Parameters
    ----------
    log_weights : (n, P), of n filters.
    rng : one uniform number a filter (systematic), or a multinomial draw.
    method : "systematic" or "multinomial".

    Returns
    -------
    (n, P)
        Indices, ascending in each row. Particle i appears ``P w_i`` times on average.

    Examples
    --------
    >>> resample(np.log([[0.5, 0.25, 0.25, 1e-300]]), np.random.default_rng(0)).tolist()
    [[0, 0, 1, 2]]
    """
    n, P = log_weights.shape
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    if method == "multinomial":
        counts = rng.multinomial(P, weights)
    elif method == "systematic":
        ends = np.ceil(P * weights.cumsum(axis=-1) - rng.random((n, 1))).clip(0, P).astype(np.int64)
        ends[:, -1] = P
        counts = ends.copy()
        counts[:, 1:] -= ends[:, :-1]
    else:
        raise ValueError(f"resampling must be 'systematic' or 'multinomial', got {method!r}")
    return np.broadcast_to(np.arange(P), (n, P)).ravel().repeat(counts.ravel()).reshape(n, P)


def _filtered(
    chain: Chain,
    messages: Messages,
    levels: range,
    mean: Array,
    num_particles: int,
    rng: np.random.Generator,
    exploration: float,
    defensive: float,
    resampling: str,
) -> Particles:
    """The filter down ``levels``; ``mean`` (..., 1, d) is the prior mean of the first. See the head of this module."""
    P = integer("num_particles", num_particles, 1)
    temperature = positive("exploration", exploration) ** 2
    if not 0.0 <= defensive < 1.0:
        raise ValueError(f"defensive must be a share in [0, 1), got {defensive!r}")
    if resampling not in ("systematic", "multinomial"):
        raise ValueError(f"resampling must be 'systematic' or 'multinomial', got {resampling!r}")
    num_defensive = min(round(defensive * P), P - 1)
    log_guided, log_defensive = _log_shares(num_defensive, P)

    first = messages.latents[levels[0] - 1]
    lead = np.broadcast_shapes(mean.shape[:-2], first.h.shape[:-1])
    log_z: Array = np.zeros((*lead, 1))  # log Z of the step to come, which is 1 at the root
    if levels[0] < len(chain.links):
        log_z = log_evidence(through_noise(*first, chain.covariances[levels[0]]), mean) / temperature
    origin: Array = np.zeros((*lead, P)) + log_z  # log Z at the last resampling, or at the root
    ratio: Array = np.zeros((*lead, P))  # log R
    unguided = _random_places(lead, P, num_defensive, rng)
    least = np.ones(lead)
    guides = _guides(chain, messages, levels, exploration)
    for ell in levels:
        guide = _Guide(*(part[ell - levels[-1]] for part in guides))
        psi = _walk(mean, guide, P, rng, exploration, unguided, chain.padded_roots[ell])
        ratio += log_evidence(messages.latents[ell - 1], psi) / temperature - (log_z + guide.log_constant[..., None])
        mean = finite_value(chain.links[ell - 1], psi, f"links[{ell - 1}]")
        log_z = log_evidence(messages.values[ell - 1], mean) / temperature
        walked = np.logaddexp(log_guided + ratio, log_defensive) if num_defensive else ratio
        log_weights, relative = _normalised(log_z - origin - walked)
        least = np.minimum(least, relative)
        poor = relative < 0.5
        if ell == levels[-1] or not poor.any():
            continue
        ancestors = resample(log_weights[poor], rng, resampling)
        rows = np.arange(len(ancestors))[:, None]
        mean = mean.copy()
        mean[poor] = mean[poor][rows, ancestors]
        log_z[poor] = origin[poor] = log_z[poor][rows, ancestors]
        ratio[poor] = 0.0
        if unguided is not None:
            unguided[poor] = _random_places((len(ancestors),), P, num_defensive, rng)
    return Particles(psi, mean, log_weights, least)


def _guides(chain: Chain, messages: Messages, levels: range, exploration: float) -> _Guide:
    """The guided steps of the levels, the lowest first, on the first axis: one factorisation for all."""
    low, high = levels[-1], levels[0]
    latents = messages.latents[low - 1 : high]
    G, h = np.array([latent.G for latent in latents]), np.array([latent.h for latent in latents])
    roots = chain.padded_roots[low : high + 1]
    return _guide(Evidence(G, h), roots.reshape(len(roots), *[1] * (h.ndim - 2), *roots.shape[1:]), exploration)


def _guide(latent: Evidence, prior_root: Array, exploration: float) -> _Guide:
    """The guided step to a node with message ``latent`` and noise ``R R'``; singular noise is fine. O(d^3)."""
    values, vectors = np.linalg.eigh(np.swapaxes(prior_root, -1, -2) @ latent.G @ prior_root)  # (..., r), (..., r, r)
    spread = 1.0 + values.clip(0.0)
    root = (prior_root @ vectors) / np.sqrt(spread)[..., None, :]
    root_t = np.swapaxes(root, -1, -2)
    reach = (root_t @ latent.h[..., None])[..., 0]  # (..., r)
    constant = 0.5 * np.vecdot(reach, reach) / exploration**2 - 0.5 * np.log(spread).sum(axis=-1)
    gain = np.eye(root.shape[-2]) - root @ (root_t @ latent.G)
    return _Guide(gain, (root @ reach[..., None])[..., 0], root, constant)


def _walk(
    mean: Array,
    guide: _Guide,
    num_particles: int,
    rng: np.random.Generator,
    exploration: float,
    unguided: BoolArray | None = None,
    prior_root: Array | None = None,
) -> Array:
    """One step of all particles, (..., P, d), from the prior's means ``mean`` (..., P or 1, d)."""
    lead = np.broadcast_shapes(mean.shape[:-2], guide.shift.shape[:-1])
    noise = exploration * rng.standard_normal((*lead, num_particles, guide.root.shape[-1]))
    center = mean @ np.swapaxes(guide.gain, -1, -2) + guide.shift[..., None, :]
    psi: Array = center + noise @ np.swapaxes(guide.root, -1, -2)
    if unguided is None or prior_root is None:
        return psi
    return np.where(unguided[..., None], mean + noise @ prior_root.T, psi)


def _random_places(lead: tuple[int, ...], P: int, count: int, rng: np.random.Generator) -> BoolArray | None:
    """(..., P) bools, ``count`` of each row true; None where ``count`` is 0."""
    if count == 0:
        return None
    order = rng.random((*lead, P)).argsort(axis=-1)
    return np.asarray(order < count)


def _log_shares(num_defensive: int, P: int) -> tuple[float, float]:
    share = num_defensive / P
    return math.log1p(-share), math.log(share) if num_defensive else -math.inf


def _normalised(log_weights: Array) -> tuple[Array, Array]:
    """The weights scaled to sum to one, (..., P), and their effective sample size relative to P, (...)."""
    shifted: Array = log_weights - log_weights.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    total = weights.sum(axis=-1)
    size = total * total / (weights.shape[-1] * np.vecdot(weights, weights))
    return np.asarray(shifted - np.log(total)[..., None]), np.asarray(size)
