"""The chains of many runs as one, and of rows that belong to them: searches and filters of all runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.chain.chain import AffineMap, Chain
from dts_gym.posteriors.evidence import Evidence
from dts_gym.priors.link_stacks import rows_of_link, stacked_links
from dts_gym.priors.links import Link
from dts_gym.utils.arrays import Array, IntArray


def stacked_chain(chains: Sequence[Chain]) -> Chain | None:
    """The chains of R runs, with a row each; None where sizes, ranks or kinds of links differ.

    Examples
    --------
    >>> from dts_gym.posteriors.chain.chain import as_chain
    >>> from dts_gym.priors.random_priors import random_mlp_prior
    >>> chains = [as_chain(random_mlp_prior(3, 2, seed=i)) for i in range(4)]
    >>> stacked = stacked_chain(chains)
    >>> stacked.roots[0].shape, stacked.links[0](np.zeros((4, 5, 3))).shape
    ((4, 3, 3), (4, 5, 3))
    """
    if len({tuple(root.shape for root in chain.roots) for chain in chains}) > 1:
        return None
    links: list[Link] = []
    for every in zip(*(chain.links for chain in chains), strict=True):
        link = stacked_links(every)
        if link is None or len({each.affine for each in every}) > 1:
            return None
        links.append(link)
    return Chain(
        tuple(links),
        tuple(np.stack(covs)[:, None] for covs in zip(*(chain.covariances for chain in chains), strict=True)),
        tuple(map(np.stack, zip(*(chain.roots for chain in chains), strict=True))),
        tuple(map(np.stack, zip(*(chain.whiteners for chain in chains), strict=True))),
        np.stack([chain.padded_roots for chain in chains], axis=1)[:, :, None],
        tuple(stacked_maps([chain.averages for chain in chains])),
        np.arange(len(chains)),
    )


def stacked_maps(maps: Sequence[Sequence[AffineMap]]) -> list[AffineMap]:
    """The maps of R runs, L of each, as L with axes (R, 1) before theirs."""
    return [
        AffineMap(np.stack([one.weight for one in every])[:, None], np.stack([one.offset for one in every])[:, None])
        for every in zip(*maps, strict=True)
    ]


def rows_of(chain: Chain, message: Evidence, owners: IntArray) -> tuple[Chain, Evidence]:
    """The chains and messages of rows that belong to runs (N,), ascending; one chain's serve all rows as they are.

    Parameters
    ----------
    chain, message : of one run, (d, d) and (d,); or of R runs with a row each, (R, 1, d, d) and (R, 1, d).
    """
    if chain.runs is None:
        return chain, message
    return chain_rows(chain, owners), Evidence(message.G[owners], message.h[owners])


def chain_rows(chain: Chain, owners: IntArray) -> Chain:
    """The chains of rows that belong to runs (N,), ascending, from those of R runs with a row each."""
    assert chain.runs is not None
    if len(owners) == len(chain.runs) and (owners == chain.runs).all():
        return chain

    def taken(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return tuple(array[owners] for array in arrays)

    return Chain(
        tuple(rows_of_link(link, owners) for link in chain.links),
        taken(chain.covariances),
        taken(chain.roots),
        taken(chain.whiteners),
        chain.padded_roots[:, owners],
        tuple(AffineMap(A[owners], c[owners]) for A, c in chain.averages),
        owners,
    )
