"""Chains of Gaussian conditionals over the actions' parameters: linear chains, and chains of any links."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dts_gym.priors.denoisers import denoiser_from_state
from dts_gym.priors.features import FeaturePrior
from dts_gym.priors.links import AffineLink, Link, link_from_state
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import ChainPrior, Prior
from dts_gym.priors.prior_files import read_prior_file
from dts_gym.priors.two_level import TwoLevelPrior, collapse
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import as_float64, covariance, finite_array, integer, listed


class LinearDiffusionPrior(ChainPrior):
    """A chain of affine links: ``f_ell(psi) = W_ell psi + c_ell``.

    Parameters
    ----------
    weights : L arrays (d, d); ``weights[ell - 1]`` is ``W_ell``.
    covariances : L + 1 arrays (d, d), PSD; ``covariances[ell - 1]`` is ``Sigma_ell``.
    offsets : L arrays (d,), zeros if None; ``offsets[ell - 1]`` is ``c_ell``.
    branch : levels above this one are shared by all actions, 0..L.

    Raises
    ------
    ValueError
        If a size does not match, a value is not finite or a covariance is not PSD.

    Examples
    --------
    >>> prior = LinearDiffusionPrior([np.eye(2)], [np.eye(2), np.eye(2)])
    >>> prior
    LinearDiffusionPrior(dim=2, depth=1, branch=0)
    >>> prior.sample(np.random.default_rng(0), 3).shape
    (3, 2)
    """

    def __init__(
        self,
        weights: Sequence[Array],
        covariances: Sequence[Array],
        offsets: Sequence[Array] | None = None,
        branch: int = 0,
    ) -> None:
        weights, covariances = listed("weights", weights), listed("covariances", covariances)
        if len(covariances) != len(weights) + 1:
            raise ValueError(
                f"covariances must hold one more array than weights: {len(weights) + 1}, got {len(covariances)}"
            )
        offsets = None if offsets is None else listed("offsets", offsets)
        if offsets is not None and len(offsets) != len(weights):
            raise ValueError(f"offsets must hold one array a link: {len(weights)}, got {len(offsets)}")
        first = as_float64("covariances[0]", covariances[0])
        if first.ndim != 2 or first.shape[0] < 1:
            raise ValueError(f"covariances[0] must have shape (d, d) with d >= 1, got shape {first.shape}")
        d = self.dim = first.shape[0]
        self.depth = len(weights)
        self.branch = integer("branch", branch, 0, self.depth)
        self.weights = tuple(finite_array(f"weights[{i}]", W, (d, d)) for i, W in enumerate(weights))
        self.covariances = tuple(covariance(f"covariances[{i}]", S, d) for i, S in enumerate(covariances))
        given = [np.zeros(d)] * self.depth if offsets is None else offsets
        self.offsets = tuple(finite_array(f"offsets[{i}]", c, (d,)) for i, c in enumerate(given))
        self.links: tuple[AffineLink, ...] = tuple(
            AffineLink(W, c) for W, c in zip(self.weights, self.offsets, strict=True)
        )

    def two_level(self, branch: int | None = None) -> TwoLevelPrior:
        """The chain collapsed into a shared and a per-action part (exact), at ``branch`` or the prior's own."""
        level = self.branch if branch is None else integer("branch", branch, 0, self.depth)
        return collapse(self.weights, self.covariances, self.offsets, level)

    def with_branch(self, branch: int) -> LinearDiffusionPrior:
        """The same chain with another branch level, 0..L."""
        return LinearDiffusionPrior(self.weights, self.covariances, self.offsets, branch)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `prior_from_state` accepts them."""
        d = self.dim
        arrays = {
            "weights": np.array(self.weights).reshape(self.depth, d, d),
            "covariances": np.array(self.covariances),
            "offsets": np.array(self.offsets).reshape(self.depth, d),
        }
        return {"kind": "linear", "branch": self.branch}, arrays


class DiffusionPrior(ChainPrior):
    """A chain of any links.

    Parameters
    ----------
    links : L links of one dimension; ``links[ell - 1]`` is ``f_ell``.
    covariances : L + 1 arrays (d, d), PSD; ``covariances[ell - 1]`` is ``Sigma_ell``.
    branch : levels above this one are shared by all actions, 0..L.

    Raises
    ------
    ValueError
        If a size does not match, a value is not finite or a covariance is not PSD; on drawing, if a link returns a
        value that is not finite; on saving, if a link is of a class of your own without ``state``.

    Notes
    -----
    A chain whose links are all affine is treated as linear, see `as_linear`.

    Examples
    --------
    >>> from dts_gym import MLPLink
    >>> bend = MLPLink([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]], activation="tanh")
    >>> prior = DiffusionPrior([bend, bend], [np.eye(2)] * 3)
    >>> prior.depth, prior.sample(np.random.default_rng(0), 3).shape
    (2, (3, 2))
    """

    def __init__(self, links: Sequence[Link], covariances: Sequence[Any], branch: int = 0) -> None:
        links, covariances = listed("links", links), listed("covariances", covariances)
        if len(covariances) != len(links) + 1:
            raise ValueError(
                f"covariances must hold one more array than links: {len(links) + 1}, got {len(covariances)}"
            )
        for i, link in enumerate(links):
            if not isinstance(link, Link):
                raise ValueError(f"links[{i}] must be a dts_gym Link, got {link!r:.200}")
            if not hasattr(link, "dim"):
                raise ValueError(f"links[{i}] must have set its dim when made, got a {type(link).__name__} without")
        shape = as_float64("covariances[0]", covariances[0]).shape
        if not links and (len(shape) != 2 or shape[0] < 1):
            raise ValueError(f"covariances[0] must have shape (d, d) with d >= 1, got shape {shape}")
        d = links[0].dim if links else shape[0]
        for i, link in enumerate(links):
            if link.dim != d:
                raise ValueError(f"links[{i}] must have the dim of links[0], {d}, got dim {link.dim}")
        self.dim = d
        self.depth = len(links)
        self.branch = integer("branch", branch, 0, self.depth)
        self.links: tuple[Link, ...] = tuple(links)
        self.covariances = tuple(covariance(f"covariances[{i}]", S, d) for i, S in enumerate(covariances))

    def _repr_facts(self) -> dict[str, Any]:
        kinds = list(dict.fromkeys(type(link).__name__ for link in self.links))
        return {**super()._repr_facts(), "links": " and ".join(kinds) or None}

    def with_branch(self, branch: int) -> DiffusionPrior:
        """The same chain with another branch level, 0..L."""
        return DiffusionPrior(self.links, self.covariances, branch)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `prior_from_state` accepts them; ValueError for a link that cannot be saved."""
        arrays, links, homes = {}, [], dict[int, str]()
        for i, link in enumerate(self.links):
            settings, own = link.state()
            # Arrays that links share are saved once: a later link refers to them.
            shared = {name: homes[id(value)] for name, value in own.items() if id(value) in homes}
            for name, value in own.items():
                if name not in shared:
                    arrays[f"links.{i}.{name}"] = value
                    homes[id(value)] = f"links.{i}.{name}"
            links.append({**settings, "shared": shared} if shared else settings)
        arrays["covariances"] = np.array(self.covariances)
        return {"kind": "diffusion", "branch": self.branch, "links": links}, arrays


_KINDS = ("linear", "diffusion", "mixed", "features", "offsets")


def prior_from_state(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> Prior:
    """Build the prior that `Prior.state` described; ValueError for an unknown kind."""
    if settings.get("kind") == "mixed":
        return MixedEffectPrior.from_state(arrays)
    if settings.get("kind") == "features":
        return FeaturePrior(**arrays)
    if settings.get("kind") == "offsets":
        residual: Any = prior_from_state(settings["residual"], _under("residual.", arrays))
        return OffsetPrior(residual, arrays["action_means"])
    kind, covariances = settings.get("kind"), list(arrays.get("covariances", ()))
    if kind == "linear":
        return LinearDiffusionPrior(list(arrays["weights"]), covariances, list(arrays["offsets"]), settings["branch"])
    if kind == "diffusion":
        links = []
        for i, own in enumerate(settings["links"]):
            shared = {name: arrays[home] for name, home in own.get("shared", {}).items()}
            build = denoiser_from_state if own.get("kind") == "denoiser" else link_from_state
            links.append(build(own, _under(f"links.{i}.", arrays) | shared))
        return DiffusionPrior(links, covariances, settings["branch"])
    raise ValueError(f"kind of the saved prior must be one of {_KINDS}, got {kind!r}")


def load_prior(path: str | os.PathLike[str]) -> Prior:
    """Read a prior that `Prior.save` wrote; equal seeds give equal draws.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, written by another program or in a newer format.
    ImportError
        If safetensors is not installed.
    """
    settings, arrays = read_prior_file(path)
    try:
        return prior_from_state(settings, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"path must be a whole prior file, got {os.fspath(path)!r}: {error!r}") from error


def as_linear(prior: Prior) -> LinearDiffusionPrior | None:
    """Return the prior as an equal linear chain with its branch; None if it is not a chain or a link is not affine.

    Examples
    --------
    >>> chain = as_linear(DiffusionPrior([AffineLink(2 * np.eye(1))], [np.eye(1)] * 2))
    >>> chain.weights
    (array([[2.]]),)
    """
    if isinstance(prior, LinearDiffusionPrior):
        return prior
    if not isinstance(prior, ChainPrior) or not all(link.affine for link in prior.links):
        return None
    zero = np.zeros(prior.dim)
    weights, offsets = [link.jacobian(zero) for link in prior.links], [link(zero) for link in prior.links]
    return LinearDiffusionPrior(weights, prior.covariances, offsets, prior.branch)


def as_prior(prior: Any) -> Prior:
    """Return ``prior``, or load it from the file of this name; ValueError for anything else, and `load_prior`'s."""
    if isinstance(prior, str | os.PathLike):
        return load_prior(prior)
    if not isinstance(prior, Prior):
        raise ValueError(f"prior must be a dts_gym Prior or a file of one, got {prior!r:.200}")
    return prior


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with ``prefix``, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
