r"""The twisted particle filter: draws of a chain with links that are not affine, given quadratic evidence.

Surrogates (`dts_gym.posteriors.chain.surrogates`) give every level an estimate of the data's evidence about it, the
messages. Particles go down the chain, each step drawn from the prior's step times the message; weights correct the
messages' errors. Level by level, for ``f = f_l(psi_l)``, with ``(Gamma_l, beta_l)`` on ``f`` and ``(G_l, h_l)`` on
``psi_l``:

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

Several guides. Tangents at one mode lead to that mode alone. So there can be M sets of messages, one a mode, and guided
particles take each step by one of them: the density of their mixture is ``R = sum_m s_m R_m``. The share ``s_m`` goes
with the root of the mass that the messages of mode m expect where the walk begins, and is stratified too. Targets at
levels between are the sum of what the modes' messages expect, ``T = sum_m c_m exp(-f' Gamma_m f / 2 + beta_m' f)`` with
the constants ``c_m`` that the tangents' offsets and the guides' normalisers leave.

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

from dts_gym.posteriors.chain.chain import Chain, HasChain, as_chain
from dts_gym.posteriors.chain.guided_steps import Guide, guides_of, walk, with_prior
from dts_gym.posteriors.chain.messages import Messages, with_axes
from dts_gym.posteriors.chain.resampling import normalised, resample
from dts_gym.posteriors.chain.run_streams import Stream, stream_among
from dts_gym.posteriors.evidence import log_evidence, through_noise
from dts_gym.priors.links import finite_value
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import integer, positive

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
    log_normaliser : (...), the log of an unbiased estimate of the evidence's expectation under the prior, where the
        messages on the lowest level's value are the data's own.
    """

    psi: Array
    value: Array
    log_weights: Array
    effective_sample_size: Array
    log_normaliser: Array


def default_defensive(prior: HasChain, surrogate: str) -> float:
    """The share of defensive draws for a surrogate by name: none where all links are affine.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
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
    rng: Stream,
    *,
    size: int = 1,
    exploration: Array | float = 1.0,
    defensive: float = 0.0,
    mixed: bool = False,
) -> Particles:
    """Independent filters of the shared levels, L down to ``branch + 1``.

    Parameters
    ----------
    prior : a prior, or its chain (faster), or the chains of N runs' rows.
    messages : result of `upward_messages`, at the same branch; with axes (N, 1) of runs.
    branch : 0..L-1, the levels above it are shared.
    num_particles : P, the number of particles of each filter.
    rng : random generator for the draws; the `RunStreams` of runs.
    size : n, the number of filters, of each run.
    exploration : e, the exploration scale, positive; (N, 1) of runs.
    defensive : share of draws from the prior, 0 <= share < 1, rounded to whole particles.
    mixed : whether the messages have a first axis of M modes, whose guides are used together.

    Returns
    -------
    Particles
        (n, ..., P, d): ``psi_{branch+1}`` and ``f_{branch+1}`` of it, (...) the messages' leading axes if any; of runs
        (N, n, P, d).

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
    >>> from dts_gym.posteriors.evidence import Evidence
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> from dts_gym.posteriors.chain.messages import upward_messages
    >>> from dts_gym.posteriors.chain.surrogates import statistical_surrogates
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
    n, d = integer("size", size, 1), chain.covariances[0].shape[-1]
    lead = (n, *(1,) * (messages.latents[-1].h.ndim - mixed)) if chain.runs is None else (len(chain.runs), n, 1)
    mean = np.zeros((*lead, d))
    levels = range(depth, branch, -1)
    return _filtered(chain, messages, levels, mean, num_particles, rng, exploration, defensive, mixed)


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
    mixed: bool = False,
) -> Particles:
    """A filter for each action's own levels, ``branch`` down to 1, given the shared part.

    Parameters
    ----------
    prior, num_particles, rng, exploration, defensive, mixed : as in `sample_shared`.
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
    return _filtered(chain, messages, range(branch, 0, -1), mean, num_particles, rng, exploration, defensive, mixed)


def pick(particles: Particles, rng: Stream) -> Array:
    """The value of one particle of each filter, by weight: (..., d)."""
    cumulative = np.exp(particles.log_weights).cumsum(axis=-1)
    threshold = rng.random(cumulative.shape[:-1]) * cumulative[..., -1]
    index = (cumulative <= threshold[..., None]).sum(axis=-1)
    return np.asarray(np.take_along_axis(particles.value, index[..., None, None], axis=-2)[..., 0, :])


def _filtered(
    chain: Chain,
    messages: Messages,
    levels: range,
    mean: Array,
    num_particles: int,
    rng: Stream,
    exploration: Array | float,
    defensive: float,
    mixed: bool,
) -> Particles:
    """The filter down ``levels``; ``mean`` (..., 1, d) is the prior mean of the first. See the head of this module.

    Particles are resampled where the effective sample size is below P/2. Arrays with a first axis of length M have an
    entry for each guide; with defensive draws the prior's steps stand before them.
    """
    P = integer("num_particles", num_particles, 1)
    scale = np.asarray(positive("exploration", exploration) if np.ndim(exploration) == 0 else exploration)
    temperature = scale**2  # of a filter
    per_particle = temperature[..., None]
    if not 0.0 <= defensive < 1.0:
        raise ValueError(f"defensive must be a share in [0, 1), got {defensive!r}")
    num_defensive = min(round(defensive * P), P - 1)
    low, high = levels[-1], levels[0]
    values, latents, log_offsets = with_axes(messages, low, high, mean.ndim - 2, mixed)
    guides = guides_of(latents, roots := chain.padded_roots[low : high + 1], scale)
    heights = _heights(log_offsets, guides.log_constant, temperature)
    first = latents[-1]
    M, lead = len(first.h), np.broadcast_shapes(mean.shape[:-2], first.h.shape[1:-1])
    if num_defensive:
        guides = with_prior(guides, roots)

    log_z: Array = np.zeros((M, *lead, 1))  # log Z of the step to come under each guide, 1 at the root
    if high < len(chain.links):
        log_z = log_evidence(through_noise(*first, chain.covariances[high]), mean) / per_particle
    expected = log_z + heights[-1][..., None]
    log_shares = _log_shares(expected, num_defensive, P)
    origin: Array = np.zeros((*lead, P)) + log_sum(expected)  # log T at the last resampling, or at the root
    ratio: Array = np.zeros((len(log_shares), *lead, P))  # log R of each guide, 0 of the prior
    chosen = _stratified(np.broadcast_to(log_shares, (len(log_shares), *lead, 1)), P, num_defensive, rng)
    least, normaliser = np.ones(lead), origin[..., 0] - math.log(M)  # the lowest target is M times the evidence
    for ell in levels:
        guide = Guide(*(part[ell - low] for part in guides))
        noise = rng.standard_normal((*lead, P, guide.root.shape[-1]))
        noise *= scale[..., None, None]
        psi = _taken(walk(mean, guide, noise), chosen)
        constant = guide.log_constant[-M:, ..., None]
        ratio[-M:] += log_evidence(latents[ell - low], psi) / per_particle - (log_z + constant)
        points = psi.reshape(-1, psi.shape[-1]) if chain.runs is None else psi.reshape(len(psi), -1, psi.shape[-1])
        mean = finite_value(chain.links[ell - 1], points, f"links[{ell - 1}]").reshape(psi.shape)
        log_z = log_evidence(values[ell - low], mean) / per_particle
        expected = log_z + heights[ell - low][..., None]
        target = log_sum(expected)
        log_weights, relative, log_mean = normalised(target - origin - log_sum(log_shares + ratio))
        least = np.minimum(least, relative)
        poor = (relative < 0.5) | (ell == low)
        normaliser = np.where(poor, normaliser + log_mean, normaliser)
        if ell == low or not poor.any():
            continue
        some = stream_among(rng, poor)
        ancestors = resample(log_weights[poor], some)
        rows = np.arange(len(ancestors))[:, None]
        mean, log_shares = mean.copy(), np.array(np.broadcast_to(log_shares, ratio.shape))
        mean[poor] = mean[poor][rows, ancestors]
        log_z[:, poor] = log_z[:, poor][:, rows, ancestors]
        expected = expected[:, poor][:, rows, ancestors]
        origin[poor] = target[poor][rows, ancestors]
        ratio[:, poor] = 0.0
        log_shares[:, poor] = _log_shares(expected, num_defensive, P)
        chosen[poor] = _stratified(log_shares[:, poor], P, num_defensive, some)
    return Particles(psi, mean, log_weights, least, normaliser)


def _heights(log_offsets: Sequence[Array], log_constants: Array, temperature: Array) -> list[Array]:
    """Log constants that the messages on the levels' values leave out, (M, ...) each, lowest first; last the root's.

    Relative to the first guide's. Under the lowest level the evidence is one for all guides, and so is its constant.
    """
    heights: list[Array] = [np.zeros_like(log_constants[0])]
    for offset, constant in zip(log_offsets, log_constants, strict=True):
        heights.append(heights[-1] + offset / temperature + constant)
    return [height - height[:1] for height in heights]


def _log_shares(expected: Array, num_defensive: int, P: int) -> Array:
    """Log probabilities with which a particle takes the prior's step, if any does, and each guide's, on the first axis.

    A guide's share goes with the root of the mass that its messages ``expected`` (M, ...) there: a mode whose mass is
    misjudged by a few nats still has its particles.
    """
    log_guided = 0.5 * expected - log_sum(0.5 * expected)
    if not num_defensive:
        return log_guided
    share = num_defensive / P
    log_shares = np.empty((len(log_guided) + 1, *log_guided.shape[1:]))
    log_shares[0], log_shares[1:] = math.log(share), math.log1p(-share) + log_guided
    return log_shares


def _stratified(log_shares: Array, P: int, num_defensive: int, rng: Stream) -> IntArray:
    """The first-axis entry of ``log_shares`` (M, ..., P or 1) that each particle takes, (..., P), by systematic draws.

    Each is taken by as many particles as its share says, rounded up or down, in random places.
    """
    lead = log_shares.shape[1:-1]
    guided = len(log_shares) - (num_defensive > 0)
    if len(log_shares) == 1:
        return np.zeros((*lead, P), dtype=np.int64)
    order = rng.random((*lead, P)).argsort(axis=-1)
    if guided == 1:
        return np.asarray(order >= num_defensive, dtype=np.int64)
    ends = np.exp(log_shares).cumsum(axis=0)[:-1]
    return np.asarray(((order + rng.random((*lead, 1))) / P >= ends).sum(axis=0))


def _taken(steps: Array, chosen: IntArray) -> Array:
    """Of steps (M, ..., P, d) the one that each particle takes, (..., P, d)."""
    if len(steps) <= 2:
        return np.asarray(np.where(chosen[..., None] > 0, steps[-1], steps[0]))
    return np.asarray(np.take_along_axis(steps, chosen[None, ..., None], axis=0)[0])


def log_sum(log_terms: Array) -> Array:
    """The log of the sum of the exponentials over the first axis."""
    return np.asarray(log_terms[0] if len(log_terms) == 1 else np.logaddexp.reduce(log_terms, axis=0))
