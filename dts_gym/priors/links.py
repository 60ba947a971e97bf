"""Links ``f_ell``: the mean of a level given the level above, with value and Jacobian, batched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import expit

from dts_gym.utils.arrays import Array
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import as_float64, choice, finite_array, listed

Activation = Literal["relu", "tanh", "silu"]


class Link(Shown, ABC):
    """A map from (..., d) to (..., d) with a Jacobian; where `affine` is True the map is its own tangent.

    Attributes
    ----------
    dim : d, the dimension of its input and value.
    affine : whether ``f(psi) = W psi + c`` exactly.
    surrogate : which affine replacement serves messages best, see `dts_gym.posteriors.chain.surrogates`.
    """

    dim: int
    affine: bool = False
    surrogate: Literal["jacobian", "statistical"] = "jacobian"

    @abstractmethod
    def __call__(self, psi: Array) -> Array:
        """The link's value: (..., d) -> (..., d)."""

    @abstractmethod
    def jacobian(self, psi: Array) -> Array:
        """The link's Jacobian: (..., d) -> (..., d, d), entry ``[..., i, j] = d f_i / d psi_j``."""

    def value_and_jacobian(self, psi: Array) -> tuple[Array, Array]:
        """Value and Jacobian at once: (..., d) -> (..., d), (..., d, d)."""
        return self(psi), self.jacobian(psi)

    def affine_predictor(self) -> tuple[Array, Array] | None:
        """The best affine predictor of the link's value, (d, d) and (d,), where a closed form is known; else None."""
        return None

    def _repr_facts(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings (JSON) and arrays from which `link_from_state` builds an equal link.

        Raises
        ------
        ValueError
            Unless the link's class defines it.
        """
        raise ValueError(f"links must be of this package to be saved, got a {type(self).__name__}")


class AffineLink(Link):
    """``f(psi) = weight psi + offset``.

    Parameters
    ----------
    weight : (d, d) matrix.
    offset : (d,) vector, zeros if None.

    Examples
    --------
    >>> AffineLink(2 * np.eye(2), [1.0, 0.0])(np.array([1.0, 1.0]))
    array([3., 2.])
    """

    affine = True

    def __init__(self, weight: Array, offset: Array | None = None) -> None:
        matrix = as_float64("weight", weight)
        self.dim = matrix.shape[0] if matrix.ndim else 0
        self.weight = finite_array("weight", matrix, (self.dim, self.dim))
        self.offset = finite_array("offset", np.zeros(self.dim) if offset is None else offset, (self.dim,))

    def __call__(self, psi: Array) -> Array:
        """``weight psi + offset``, (..., d) -> (..., d)."""
        return psi @ np.swapaxes(self.weight, -1, -2) + self.offset

    def jacobian(self, psi: Array) -> Array:
        """The weight, whatever ``psi``: (..., d) -> (..., d, d)."""
        weight = self.weight if self.weight.ndim == 2 else self.weight[:, None]
        return np.broadcast_to(weight, (*psi.shape[:-1], self.dim, self.dim))

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `link_from_state` accepts them."""
        return {"kind": "affine"}, {"weight": self.weight, "offset": self.offset}


class MLPLink(Link):
    """A multi-layer perceptron: affine layers, an activation after each but the last.

    Parameters
    ----------
    weights : one array (n_out, n_in) for each layer, the first from d, the last to d.
    biases : one array (n_out,) for each layer, zeros if None.
    activation : "relu" (slope 0 at its kink), "tanh" or "silu" (``z / (1 + exp(-z))``).

    Raises
    ------
    ValueError
        If sizes do not match, a value is not finite or the activation is unknown.

    Notes
    -----
    Exact. With ``m`` weights in all, a value costs O(m) for each point and a Jacobian O(d m); each layer is one matrix
    product for the points of the last but one axis. So the bytes of a point's value depend on those points alone.

    Examples
    --------
    >>> link = MLPLink([[[1.0], [-1.0]], [[1.0, 2.0]]])
    >>> value, jacobian = link.value_and_jacobian(np.array([[3.0], [-3.0]]))
    >>> value.tolist(), jacobian.tolist()
    ([[3.0], [6.0]], [[[1.0]], [[-2.0]]])
    """

    def __init__(
        self, weights: Sequence[Any], biases: Sequence[Any] | None = None, activation: Activation = "relu"
    ) -> None:
        weights = listed("weights", weights)
        biases = None if biases is None else listed("biases", biases)
        if not weights:
            raise ValueError("weights must hold one array a layer, got none")
        if biases is not None and len(biases) != len(weights):
            raise ValueError(f"biases must hold one array a layer: {len(weights)}, got {len(biases)}")
        choice("activation", activation, get_args(Activation))
        layers: list[Array] = []
        for i, weight in enumerate(weights):
            size = layers[-1].shape[0] if layers else None
            layers.append(finite_array(f"weights[{i}]", weight, (None, size)))
            if not layers[-1].size:
                raise ValueError(f"weights[{i}] must not be empty, got shape {layers[-1].shape}")
        self.dim = layers[0].shape[1]
        if layers[-1].shape[0] != self.dim:
            raise ValueError(f"weights[-1] must have as many rows as weights[0] columns, {self.dim}, "
                             f"got shape {layers[-1].shape}")  # fmt: skip
        given = [np.zeros(len(W)) for W in layers] if biases is None else biases
        self.weights = tuple(layers)
        self.biases = tuple(finite_array(f"biases[{i}]", b, (len(layers[i]),)) for i, b in enumerate(given))
        self.activation: Activation = activation

    def __call__(self, psi: Array) -> Array:
        """Output of the last layer, (..., d) -> (..., d)."""
        return self._forward(psi)[0]

    def jacobian(self, psi: Array) -> Array:
        """Product of the layers' Jacobians, (..., d) -> (..., d, d)."""
        return self.value_and_jacobian(psi)[1]

    def value_and_jacobian(self, psi: Array) -> tuple[Array, Array]:
        """Value and Jacobian from one forward pass: (..., d) -> (..., d), (..., d, d)."""
        value, hidden = self._forward(psi)
        lead, d = psi.shape[:-1], self.dim
        slope_of = _SLOPES[self.activation]
        last = self.weights[-1] if self.weights[-1].ndim == 2 else self.weights[-1][:, None]
        product = np.broadcast_to(last, (*lead, *last.shape[-2:]))  # (..., d, n)
        for weight, z in zip(self.weights[-2::-1], hidden[::-1], strict=True):
            scaled = product * slope_of(z)[..., None, :]  # (..., d, n_out)
            # One product of two matrices for the points of the last axis, not one product for each.
            flat = scaled.reshape(*lead[:-1], (lead[-1] if lead else 1) * d, weight.shape[-2])
            product = (flat @ weight).reshape(*lead, d, weight.shape[-1])
        return value, product

    def _forward(self, psi: Array) -> tuple[Array, list[Array]]:
        """The value and the inputs of each activation."""
        activate, hidden = _ACTIVATIONS[self.activation], []
        value = psi @ np.swapaxes(self.weights[0], -1, -2) + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden.append(value)
            value = activate(value) @ np.swapaxes(weight, -1, -2) + bias
        return value, hidden

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `link_from_state` accepts them."""
        arrays = {f"weights.{i}": W for i, W in enumerate(self.weights)}
        arrays |= {f"biases.{i}": b for i, b in enumerate(self.biases)}
        return {"kind": "mlp", "activation": self.activation, "layers": len(self.weights)}, arrays

    def _repr_facts(self) -> dict[str, Any]:
        return {"dim": self.dim, "hidden": tuple(map(len, self.weights[:-1])), "activation": self.activation}


def link_from_state(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> Link:
    """Build the link that `Link.state` described; ValueError for an unknown kind."""
    if settings.get("kind") == "affine":
        return AffineLink(arrays["weight"], arrays["offset"])
    if settings.get("kind") == "mlp":
        layers = range(settings["layers"])
        weights, biases = ([arrays[f"{name}.{i}"] for i in layers] for name in ("weights", "biases"))
        return MLPLink(weights, biases, settings["activation"])
    raise ValueError(f"kind of a saved link must be 'affine' or 'mlp', got {settings.get('kind')!r}")


def finite_value(link: Link, psi: Array, name: str = "link") -> Array:
    """Return ``link(psi)``, which must be finite and of the shape of ``psi``.

    Parameters
    ----------
    link : any link, also a user's own.
    psi : (..., d) points.
    name : name of the link in the error.

    Raises
    ------
    ValueError
        If a value is not finite, or has another shape.

    Examples
    --------
    >>> finite_value(AffineLink(np.eye(1)), np.array([2.0]))
    array([2.])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        value = link(psi)
    if value.shape != psi.shape:
        raise ValueError(f"{name} must keep the shape {psi.shape}, got a value of shape {value.shape}")
    finite = np.isfinite(value)
    if not finite.all():
        row = tuple(np.argwhere(~finite)[0][:-1])
        raise ValueError(f"{name} must return finite values, got {value[row]} at psi = {psi[row]}")
    return value


def _silu_slope(z: Array) -> Array:
    s = expit(z)
    return np.asarray(s * (1.0 + z * expit(-z)))


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "silu": lambda z: np.asarray(z * expit(z)),
}
_SLOPES: dict[str, Callable[[Array], Array]] = {
    "relu": lambda z: (z > 0).astype(np.float64),
    "tanh": lambda z: 1.0 - np.tanh(z) ** 2,
    "silu": _silu_slope,
}
