"""The two classes that priors derive from: any prior, and a chain."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from dts_gym.priors.links import Link, finite_value
from dts_gym.priors.prior_files import write_prior_file
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import integer


class Prior(Shown, ABC):
    """A distribution of the actions' parameters: it can be drawn from, and kept in a file.

    Agents that fit a prior of their own to draws (TunedTS, MixTS, MarginalLinTS) accept any prior; those with the
    posterior of a chain (dTS, dUCB, HierTS, JointTS, LaplaceDPS) accept a `ChainPrior`.

    Attributes
    ----------
    dim : d, the dimension of a parameter vector.

    Notes
    -----
    A subclass that defines ``with_branch`` is a chain, and becomes a `ChainPrior`: such classes were written when every
    prior was one.
    """

    dim: int

    def __init_subclass__(cls, *, defines_chains: bool = False, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if not defines_chains and hasattr(cls, "with_branch") and ChainPrior not in cls.__mro__:
            bases = tuple(ChainPrior if base is Prior else base for base in cls.__bases__)
            # The class then inherits the methods of `ChainPrior` as if it had named it as a base.
            type.__setattr__(cls, "__bases__", bases if ChainPrior in bases else (*bases, ChainPrior))

    @abstractmethod
    def sample(self, rng: np.random.Generator, num_actions: int) -> Array:
        """Parameters of the actions of one instance, (K, d)."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings (JSON) and arrays from which an equal prior can be built; ValueError if it cannot be saved."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the prior to a .safetensors file, which `load_prior` reads (needs safetensors, not torch)."""
        write_prior_file(path, *self.state())

    def _repr_facts(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def _refuse_chain(self) -> NoReturn:
        """Raise the ValueError that this prior is not a chain."""
        raise ValueError(f"prior must be a chain of links (a dts_gym ChainPrior), got {type(self).__name__}")


class ChainPrior(Prior, defines_chains=True):
    """``psi_L ~ N(0, Sigma_{L+1})``, ``psi_{ell-1} | psi_ell ~ N(f_ell(psi_ell), Sigma_ell)``, ``theta = psi_0``.

    Attributes
    ----------
    dim : d, the dimension of every level.
    depth : L, the number of links.
    branch : levels above this one are shared by all actions, levels up to it are per action; 0..L.
    links : L links, ``links[ell - 1]`` is ``f_ell``.
    covariances : L + 1 arrays (d, d), ``covariances[ell - 1]`` is ``Sigma_ell``.
    """

    depth: int
    branch: int
    links: Sequence[Link]
    covariances: tuple[Array, ...]

    @cached_property
    def _factors(self) -> tuple[Array, ...]:
        return tuple(factor(cov) for cov in self.covariances)

    def sample(self, rng: np.random.Generator, num_actions: int) -> Array:
        """Draw the parameters of ``num_actions`` actions, (K, d): one draw of the shared levels, K of the others."""
        return self.sample_chain(rng, num_actions)[0]

    def sample_chain(self, rng: np.random.Generator, num_actions: int) -> list[Array]:
        """Draw all levels once: entry ``ell`` is ``psi_ell``, (1, d) where shared, (K, d) per action."""
        K = integer("num_actions", num_actions, 1)
        psi = np.zeros((1, self.dim))
        levels: list[Array] = []
        for ell in range(self.depth, -1, -1):
            # links[ell] is f_{ell+1}
            mean = psi if ell == self.depth else finite_value(self.links[ell], psi, f"links[{ell}]")
            noise_factor = self._factors[ell]  # of Sigma_{ell+1}
            rows = K if ell <= self.branch else 1
            psi = mean + rng.standard_normal((rows, noise_factor.shape[1])) @ noise_factor.T
            levels.append(psi)
        return levels[::-1]

    def _repr_facts(self) -> dict[str, Any]:
        return {"dim": self.dim, "depth": self.depth, "branch": self.branch}

    @abstractmethod
    def with_branch(self, branch: int) -> ChainPrior:
        """The same chain with another branch level."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings (JSON) and arrays from which `prior_from_state` builds an equal prior."""


def as_chain_prior(prior: Prior) -> ChainPrior:
    """Return ``prior`` if it is a chain; else raise ValueError.

    Examples
    --------
    >>> from dts_gym import random_linear_prior
    >>> as_chain_prior(random_linear_prior(3, 2)).depth
    2
    """
    if isinstance(prior, ChainPrior):
        return prior
    prior._refuse_chain()
