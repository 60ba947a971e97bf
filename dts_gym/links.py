"""Links ``f_ell``: the mean of a level given the level above, with value and Jacobian, batched."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from dts_gym.arrays import Array, finite_array


class Link(ABC):
    """A map from (..., d) to (..., d) with a Jacobian; `affine` says that its tangent is itself.

    Attributes
    ----------
    dim : d.
    affine : whether ``f(psi) = W psi + c`` exactly.
    """

    dim: int
    affine: bool = False

    @abstractmethod
    def __call__(self, psi: Array) -> Array:
        """Value: (..., d) -> (..., d)."""

    @abstractmethod
    def jacobian(self, psi: Array) -> Array:
        """Jacobian: (..., d) -> (..., d, d), entry ``[..., i, j] = d f_i / d psi_j``."""


class AffineLink(Link):
    """``f(psi) = weight psi + offset``.

    Parameters
    ----------
    weight : (d, d).
    offset : (d,), zeros if None.

    Examples
    --------
    >>> AffineLink(2 * np.eye(2), [1.0, 0.0])(np.array([1.0, 1.0]))
    array([3., 2.])
    """

    affine = True

    def __init__(self, weight: Array, offset: Array | None = None) -> None:
        weight = np.asarray(weight)
        self.dim = weight.shape[0] if weight.ndim else 0
        self.weight = finite_array("weight", weight, (self.dim, self.dim))
        self.offset = finite_array("offset", np.zeros(self.dim) if offset is None else offset, (self.dim,))

    def __call__(self, psi: Array) -> Array:
        """``weight psi + offset``, (..., d) -> (..., d)."""
        return psi @ self.weight.T + self.offset

    def jacobian(self, psi: Array) -> Array:
        """The weight, whatever ``psi``: (..., d) -> (..., d, d)."""
        return np.broadcast_to(self.weight, (*psi.shape[:-1], self.dim, self.dim))
