"""Posterior draws of all actions' parameters by particles, for small K."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, HasChain, as_chain
from dts_gym.posteriors.chain.guided_steps import guide_of, walk
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.particles import pick, sample_actions, sample_shared
from dts_gym.posteriors.evidence import Evidence, through_noise
from dts_gym.utils.arrays import Array


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
    evidence : evidence on theta, (K, d, d) and (K, d); zeros for actions without data.
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
    guide = guide_of(evidence, chain.roots[0], exploration)
    noise = exploration * rng.standard_normal((size, len(guide.shift), 1, guide.root.shape[-1]))
    theta = walk(mean[..., None, :], guide, noise)[..., 0, :]
    return theta, np.min(sizes, axis=0)
