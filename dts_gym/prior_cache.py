"""Priors pre-trained on first use and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from importlib import import_module
from typing import Any

import numpy as np

from dts_gym.arrays import Array, finite_array, integer
from dts_gym.datasets.download import cache_folder
from dts_gym.pretraining import fit
from dts_gym.priors import Prior, load_prior

_FORMAT = 1  # raised when `fit` changes its results


def cached_fit(theta: Array, depth: int = 40, **settings: Any) -> Prior:
    """`dts_gym.pretraining.fit`, kept in the cache under the vectors and the settings.

    Parameters
    ----------
    theta : (N, d) parameter vectors of past items.
    depth, settings : as `fit` takes them; numbers, words and None only.

    Returns
    -------
    Prior
        That of the cache's file if there is one, which takes no torch; a damaged file is made anew, with a warning.
        `DTS_GYM_DATA` names the cache's folder.

    Raises
    ------
    ValueError, ImportError
        As `fit`; ImportError also where safetensors is not installed.
    """
    vectors, L = finite_array("theta", theta, (None, None)), integer("depth", depth, 1)
    import_module("safetensors")  # before the training, not after it
    branch = settings.get("branch")
    if branch is not None and branch != "auto":  # one training serves all branches that are given
        branch = integer("branch", branch, 0, L)
        return cached_fit(vectors, L, **{**settings, "branch": None}).with_branch(branch)
    quiet = {"progress", "device"}  # of no matter for the result
    named = {"format": _FORMAT, "depth": L, **{k: v for k, v in settings.items() if k not in quiet}}
    digest = hashlib.sha256(json.dumps(named, sort_keys=True, default=lambda number: number.item()).encode())
    digest.update(repr(vectors.shape).encode() + np.ascontiguousarray(vectors).tobytes())
    path = cache_folder() / "priors" / f"{digest.hexdigest()[:32]}.safetensors"
    if path.exists():
        try:
            return load_prior(path)
        except ValueError as error:
            warnings.warn(f"the cached prior is made anew: {error}", stacklevel=2)
    prior = fit(vectors, L, **settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    prior.save(os.fspath(path))
    return prior
