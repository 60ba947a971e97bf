r"""Which levels of a chain a catalogue's actions share, from catalogues that are known.

A catalogue is the set of parameter vectors of one instance. At branch b its vectors covary through ``psi_{b+1}``: at 0
they differ by ``Sigma_1`` alone, at L they are independent draws. Only first and second moments are used: the evidence
is that of

    theta_a = m + delta_a,   m ~ N(m0, C_b),   delta_a ~ N(0, S_b),

with ``C_b`` the covariance of two actions of one catalogue under the prior and ``C_b + S_b`` that of an action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.chain.chain import as_chain
from dts_gym.priors.chains import as_linear, as_prior
from dts_gym.priors.links import finite_value
from dts_gym.priors.prior import ChainPrior, as_chain_prior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import LARGEST, finite_array, integer, listed

_PAIRS, _MOST = 4000, 11  # pairs of actions behind each covariance; branches tried unless told
_SUBSETS = 5
_ALIKE = 1.5  # nats of evidence, odds of 4.5 to 1, by which branches are not told apart


class BranchChoice(NamedTuple):
    """Evidence for each branch.

    Attributes
    ----------
    branch : the highest whose evidence is at most 1.5 nats below the most: of branches that the catalogues do not tell
        apart the one that shares least, which assumes least and costs least.
    branches : (B,), those tried, ascending.
    log_evidence : (B,), of all catalogues together, less the most: 0 at most; minus infinity where the branch makes it
        impossible.
    standard_error : (B,), of ``log_evidence`` over catalogues; NaN for a single one. It says how much other catalogues
        might change the evidence, and has no say in the choice.
    """

    branch: int
    branches: IntArray
    log_evidence: Array
    standard_error: Array


def choose_branch(
    prior: ChainPrior,
    catalogues: Sequence[Array],
    *,
    branches: Sequence[int] | None = None,
    seed: int = 0,
) -> BranchChoice:
    """Find the branch under which known catalogues are most probable.

    Parameters
    ----------
    prior : a chain of depth L; its own branch is not used.
    catalogues : arrays (n_i, d), the parameters of the actions of one instance each, n_i >= 2; not the ones that the
        prior was fitted to. `dts_gym.pretraining.branch_choice.random_subsets` makes catalogues of one set.
    branches : branches to try, in 0..L; None: all where there are at most 11, else 11 of them, evenly spaced, 0 and L
        included.
    seed : seed for the estimate of the prior's moments, where a link is not affine.

    Returns
    -------
    BranchChoice

    Raises
    ------
    ValueError
        If ``prior`` is not a chain, a catalogue is too small or not finite, a branch is out of range, or the catalogues
        have no density under any branch.

    Notes
    -----
    Exact for linear chains. For other chains the distribution is replaced by the normal one of the same first and
    second moments, and these are Monte Carlo averages over 4000 pairs of actions or more, with O(L) link evaluations
    for each pair and branch: seconds. Their error, some 2 % of a covariance, is not in ``standard_error``: the evidence
    says little about a shared part smaller than that. Subsets of one exchangeable set share nothing beyond the prior:
    for these L wins, except by chance.

    Examples
    --------
    >>> from dts_gym import random_linear_prior
    >>> prior, rng = random_linear_prior(3, 2), np.random.default_rng(0)
    >>> choose_branch(prior, [prior.with_branch(1).sample(rng, 50) for _ in range(40)]).branch
    1
    """
    prior = as_chain_prior(as_prior(prior))
    start = integer("seed", seed, 0)
    parts = [
        finite_array(f"catalogues[{i}]", part, (None, prior.dim), LARGEST)
        for i, part in enumerate(listed("catalogues", catalogues))
    ]
    if not parts or min(len(part) for part in parts) < 2:
        sizes = [len(part) for part in parts]
        raise ValueError(f"catalogues must be one or more, of two vectors or more each, got sizes {sizes}")
    L = prior.depth
    if branches is None:
        tried = np.unique(np.linspace(0, L, min(L + 1, _MOST)).round().astype(np.int64))
    else:
        tried = np.unique(
            [integer("branches", b, 0, L) for b in listed("branches", branches, "a list of integers")]
        ).astype(np.int64)
        if not tried.size:
            raise ValueError("branches must hold one at least, got none")
    pairs = max(_PAIRS, 4 * max(len(part) for part in parts))
    moments = _moments(prior, tried.tolist(), start, pairs)
    evidence = np.array([[catalogue_evidence(part, law) for part in parts] for law in moments])  # (B, catalogues)
    total = evidence.sum(axis=1)
    if not np.isfinite(total).any():
        raise ValueError(
            f"catalogues must be possible under a branch, got ones that the prior gives no density at any of {tried}: "
            "its covariances are singular"
        )
    best = len(tried) - 1 - int(total[::-1].argmax())
    with np.errstate(invalid="ignore"):
        less = evidence - evidence[best]
        error = less.std(axis=1, ddof=1) * np.sqrt(len(parts)) if len(parts) > 1 else np.full(len(tried), np.nan)
    # A tolerance in standard errors would pass over branches that are tens of nats better: where catalogues differ,
    # those that tell most of the branch also make the error large.
    chosen = int(np.flatnonzero(total >= total[best] - _ALIKE)[-1])
    return BranchChoice(int(tried[chosen]), tried, less.sum(axis=1), error)


def random_subsets(theta: Array, seed: int = 0, num_subsets: int = _SUBSETS) -> list[Array]:
    """Split vectors (N, d) at random into catalogues of nearly equal size, of two or more vectors each."""
    order = stream(integer("seed", seed, 0), "subsets").permutation(len(theta))
    return [theta[part] for part in np.array_split(order, max(1, min(num_subsets, len(theta) // 2)))]


def checked_labels(labels: Any, count: int) -> NDArray[Any]:
    """Return labels, one for each vector, (count,); else raise ValueError."""
    listed = np.asarray(labels)
    if listed.shape != (count,):
        raise ValueError(f"catalogues must be a label a vector, shape ({count},), got shape {listed.shape}")
    if listed.dtype.kind not in "biuSU":
        raise ValueError(f"catalogues must be labels that are all integers or all words, got {listed.dtype} ones")
    return listed


def labelled(theta: Array, labels: NDArray[Any]) -> list[Array]:
    """Return catalogues of the vectors (N, d) with equal labels, omitting catalogues of one vector."""
    names, place = np.unique(labels, return_inverse=True)
    parts = [theta[place == i] for i in range(len(names))]
    kept = [part for part in parts if len(part) >= 2]
    if not kept:
        raise ValueError(f"catalogues must hold a label that two held-out vectors have, got {len(names)} labels apart")
    return kept


def catalogue_evidence(theta: Array, law: TwoLevelPrior) -> float:
    """Log density of a catalogue (n, d), with what its actions share integrated out.

    Notes
    -----
    Exact for the given distribution: the scatter around the catalogue's mean depends on ``S``, the mean on
    ``C + S / n``. The cost is O(n d^2 + d^3). The result is minus infinity where ``S`` is singular.

    Examples
    --------
    >>> law = TwoLevelPrior(np.zeros(1), np.eye(1), np.eye(1))
    >>> round(catalogue_evidence(np.array([[1.0], [-1.0]]), law), 4)
    -3.3872
    """
    n, d = theta.shape
    center = theta.mean(axis=0)
    own, middle = _chol(law.action_cov), _chol(law.shared_cov + law.action_cov / n)
    if own is None or middle is None:
        return -np.inf
    scatter = np.linalg.solve(own, (theta - center).T)
    shift = np.linalg.solve(middle, center - law.mean)
    log_det = 2.0 * ((n - 1) * np.log(np.diagonal(own)).sum() + np.log(np.diagonal(middle)).sum())
    square = float((scatter**2).sum() + shift @ shift)
    return float(-0.5 * (square + log_det + d * np.log(n) + n * d * np.log(2.0 * np.pi)))


def _chol(cov: Array) -> Array | None:
    """A Cholesky factor; None where the covariance is singular to rounding, whatever the coordinates' units."""
    std = np.sqrt(np.diagonal(cov).clip(0.0))
    if not std.all():
        return None
    try:
        chol = np.linalg.cholesky(cov / np.outer(std, std))
    except np.linalg.LinAlgError:
        return None
    return None if np.diagonal(chol).min() <= 1e-7 else np.asarray(std[:, None] * chol)


def _moments(prior: ChainPrior, branches: list[int], seed: int, pairs: int = _PAIRS) -> list[TwoLevelPrior]:
    """The two-level distribution of each branch."""
    linear = as_linear(prior)
    if linear is not None:
        return [linear.two_level(branch) for branch in branches]
    rng = stream(integer("seed", seed, 0), "branch")
    chain, d = as_chain(prior), prior.dim
    first = prior.with_branch(prior.depth).sample_chain(rng, pairs)
    mean, total = first[0].mean(axis=0), np.cov(first[0], rowvar=False).reshape(d, d)
    laws = []
    for branch in branches:
        if branch == prior.depth:
            laws.append(TwoLevelPrior(mean, np.zeros((d, d)), total))
            continue
        psi = first[branch + 1]
        for ell in range(branch, -1, -1):  # another action below the same psi_{branch+1}
            value = finite_value(chain.links[ell], psi, f"links[{ell}]")
            psi = value + rng.standard_normal((pairs, chain.roots[ell].shape[1])) @ chain.roots[ell].T
        # Half the mean square of differences: the shared part cancels, however small the rest is.
        off = first[0] - psi
        own = off.T @ off / (2 * pairs)
        laws.append(TwoLevelPrior(mean, _positive(total - own), own))
    return laws


def _positive(cov: Array) -> Array:
    """The nearest PSD matrix, because a Monte Carlo estimate may not be PSD."""
    values, vectors = np.linalg.eigh((cov + cov.T) / 2)
    return np.asarray((vectors * values.clip(0.0)) @ vectors.T)
