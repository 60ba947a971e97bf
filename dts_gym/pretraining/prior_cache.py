"""Priors that environments learn from past vectors; trained ones are kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np

from dts_gym.datasets.download import cache_folder
from dts_gym.pretraining.branch_choice import choose_branch, random_subsets
from dts_gym.pretraining.learning import fit
from dts_gym.priors.chains import as_prior, load_prior
from dts_gym.priors.fitting import fit_linear_chain
from dts_gym.priors.prior import ChainPrior, Prior, as_chain_prior
from dts_gym.priors.reverse_process import Schedule
from dts_gym.utils.arrays import Array
from dts_gym.utils.caching import cached
from dts_gym.utils.validation import DEEPEST, LARGEST, choice, finite_array, integer

_FORMAT = 1  # raised when `fit` changes its results


def learned_prior(
    prior: Any, theta: Array, depth: int | None, branch: int | Literal["auto"] | None = None, **network: Any
) -> Prior:
    """Return the prior that an environment is asked for, learned from past vectors where necessary.

    Parameters
    ----------
    prior : "linear", a chain of identity links with the vectors' moments; "diffusion", a denoising diffusion model of
        them, see `cached_fit`; or a prior, or a file of one.
    theta : (N, d) vectors in random order.
    depth : L, the number of links of the learned chain; None: 2 for "linear", 40 for "diffusion".
    branch : levels above this one are shared, 0..L; "auto": the branch under which held-out vectors are most probable,
        see `dts_gym.choose_branch`; None: L - 1 for "linear", the default of `fit` for "diffusion", a given prior's
        own.
    network : other settings of `fit`, only for "diffusion".

    Raises
    ------
    ValueError
        If ``depth`` or "auto" is set together with a given prior, or the vectors are too few for "auto".
    """
    word, is_auto = prior if isinstance(prior, str) else "", _is_auto(branch)
    own: Any = branch
    if word == "diffusion":
        named = {} if branch is None else {"branch": branch}
        return cached_fit(theta, 40 if depth is None else depth, **named, **network)
    if word == "linear":
        L = 2 if depth is None else integer("depth", depth, 1, most=DEEPEST)
        if not is_auto:
            return fit_linear_chain(theta, L, L - 1 if own is None else own)
        (N, d), kept = theta.shape, max(4, round(0.2 * len(theta)))
        if N - kept < d + 2:
            raise ValueError(
                f"branch must be a number with so few vectors: 'auto' takes {d + 2 + kept} of dimension {d}, got {N}"
            )
        fitted = fit_linear_chain(theta[kept:], L, L)
        return fit_linear_chain(theta, L, choose_branch(fitted, random_subsets(theta[:kept])).branch)
    if depth is not None or is_auto:
        raise ValueError(f"depth and branch 'auto' go with a prior to learn, got {depth!r}, {branch!r} and a prior")
    given = as_prior(prior)
    return given if branch is None else as_chain_prior(given).with_branch(own)


def cached_fit(theta: Array, depth: int = 40, **settings: Any) -> ChainPrior:
    """`dts_gym.pretraining.fit` with its result kept in a cache, under the vectors and the settings.

    Parameters
    ----------
    theta : (N, d) parameter vectors of past items.
    depth, settings : as in `fit`; numbers, words and None only.

    Returns
    -------
    ChainPrior
        The prior in the cache's file if there is one, for which torch is not needed; a damaged file is replaced, with a
        warning. Of several processes one trains, and the others wait for it. `DTS_GYM_DATA` names the cache's folder.

    Raises
    ------
    ValueError, ImportError
        As in `fit`; ImportError also where safetensors is not installed.
    """
    vectors, L = finite_array("theta", theta, (None, None), LARGEST), integer("depth", depth, 1, most=DEEPEST)
    import_module("safetensors")  # before the training, not after it
    branch = settings.get("branch")
    choice("schedule", settings.get("schedule", "cosine"), get_args(Schedule))  # it names the file
    if branch is not None and not _is_auto(branch):  # one training serves all explicit branches
        branch = integer("branch", branch, 0, L)
        return cached_fit(vectors, L, **{**settings, "branch": None}).with_branch(branch)
    quiet = {"progress", "device"}  # these do not change the result
    named = {"format": _FORMAT, "depth": L, **{k: v for k, v in settings.items() if k not in quiet}}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True, default=lambda number: number.item()).encode())
    digest.update(repr(vectors.shape).encode() + np.ascontiguousarray(vectors).tobytes())
    path = cache_folder() / "priors" / f"{digest.hexdigest()[:32]}.safetensors"

    def make() -> ChainPrior:
        prior = fit(vectors, L, **settings)
        prior.save(os.fspath(path))
        return prior

    return cached(path, lambda: as_chain_prior(load_prior(path)), make, "the cached prior is made anew")


def _is_auto(branch: Any) -> bool:
    return isinstance(branch, str) and branch == "auto"
