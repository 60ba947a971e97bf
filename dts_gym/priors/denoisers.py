r"""Reverse steps of a pre-trained denoising diffusion model as links, evaluated in NumPy.

Data ``z_0`` in the units that the denoiser was trained in, ``theta = offset + scale z_0``. With ``abar_0 = 1 > abar_1 >
... > abar_L`` the forward process is ``z_l = sqrt(abar_l) z_0 + sqrt(1 - abar_l) eps``; ``alpha_l = abar_l /
abar_{l-1}``, ``beta_l = 1 - alpha_l``. A network ``F`` predicts the velocity ``v = sqrt(abar_l) eps - sqrt(1 - abar_l)
z_0``, so ``E[z_0 | z_l] = sqrt(abar_l) z_l - sqrt(1 - abar_l) F(z_l, l)``: with data of mean zero and unit covariance,
``F = 0`` is the best affine denoiser, and the network learns only what is not Gaussian. The mean of a reverse step is

    f_l(z_l) = sqrt(alpha_l) z_l - g_l sqrt(1 - abar_l) F(z_l, l),      g_l = sqrt(abar_{l-1}) beta_l / (1 - abar_l)

For its covariance, the schedule and the whole chain see `dts_gym.priors.reverse_process`.

Source: Ho, Jain and Abbeel, "Denoising diffusion probabilistic models" (2020); for the velocity, Salimans and Ho,
"Progressive distillation for fast sampling of diffusion models" (2022).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np

from dts_gym.priors.denoiser_layers import Layers, multiplied_out
from dts_gym.priors.links import Link
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import finite_array, integer

_ROWS = 512  # number of points at a time, so that the layers stay in the processor's cache
_FAR = 1e18  # larger numbers could leave single precision's range on their way through a network


class DenoiserNetwork(NamedTuple):
    """A residual perceptron with one constant time vector for each step: arrays that all steps share.

    Attributes
    ----------
    first : (H, d) weight of the first layer.
    inner : (B, H, H) weight of each block, into its activation.
    outer : (B, H, H) weight of each block, out of its activation.
    last : (d, H) weight of the last layer.
    last_bias : (d,) bias of the last layer.
    times : (L, B + 1, H), the time embedding of each step as it enters the first layer and each block.

    Notes
    -----
    ``h = first z + times[l, 0]``; ``h += outer[k] silu(inner[k] h + times[l, k + 1])``; ``F = last h + last_bias``.
    """

    first: Array
    inner: Array
    outer: Array
    last: Array
    last_bias: Array
    times: Array


class DenoiserLink(Link):
    """The mean of one reverse step.

    Parameters
    ----------
    network : the velocity network, shared by the steps; its arrays are kept, not copied.
    step : l, the number of the step, 1..L.
    alpha_bar : ``abar_l``, in (0, 1).
    alpha_bar_before : ``abar_{l-1}``, in (abar_l, 1].
    predictor : weight (d, d) and offset (d,) of the best affine predictor of ``z_{l-1}`` from ``z_l``, if known.
    scale : (d, d) scale of the parameters' units, for the first step, as are the offset and the predictor in these
        units; None: the identity.
    offset : (d,) offset of the parameters' units; None: zeros.

    Attributes
    ----------
    affine : whether the network predicts the same velocity everywhere.
    data_share : g_l, the coefficient of ``z_0`` in the mean of ``z_{l-1}`` given both ``z_0`` and ``z_l``.

    Raises
    ------
    ValueError
        If a size does not match, or a value is not finite or out of its range.

    Notes
    -----
    Exact, but for the rounding of products of the network's matrices, which are multiplied out: see
    `dts_gym.priors.denoiser_layers`. A value costs O(B H d + B^2 H^2) for each point, a Jacobian d times that.

    Examples
    --------
    >>> silent = DenoiserNetwork(np.ones((4, 2)), *np.zeros((2, 1, 4, 4)), np.zeros((2, 4)), np.zeros(2),
    ...                          np.zeros((1, 2, 4)))
    >>> DenoiserLink(silent, 1, 0.25, 1.0)(np.array([1.0, 2.0]))
    array([0.5, 1. ])
    """

    surrogate = "statistical"

    def __init__(
        self,
        network: DenoiserNetwork,
        step: int,
        alpha_bar: float,
        alpha_bar_before: float,
        predictor: tuple[Array, Array] | None = None,
        scale: Array | None = None,
        offset: Array | None = None,
    ) -> None:
        self.network = _checked(network)
        self._layers = _layers(_Same(self.network))
        d = self.dim = network.first.shape[1]
        self.step = integer("step", step, 1, len(network.times))
        if not 0.0 < alpha_bar < alpha_bar_before <= 1.0:
            raise ValueError(
                f"alpha_bar must lie between 0 and alpha_bar_before <= 1, got {alpha_bar!r} and {alpha_bar_before!r}"
            )
        self.alpha_bar, self.alpha_bar_before = float(alpha_bar), float(alpha_bar_before)
        self.scale = None if scale is None else finite_array("scale", scale, (d, d))
        self.offset = None if offset is None else finite_array("offset", offset, (d,))
        self.predictor: tuple[Array, Array] | None = None
        if predictor is not None:
            weight, shift = predictor
            self.predictor = finite_array("predictor[0]", weight, (d, d)), finite_array("predictor[1]", shift, (d,))
        self.affine = not self.network.last.any()  # such a network has learned nothing: the data look Gaussian
        self._skip = float(np.sqrt(alpha_bar / alpha_bar_before))
        alpha = alpha_bar / alpha_bar_before
        self.data_share = float(np.sqrt(alpha_bar_before)) * (1.0 - alpha) / (1.0 - alpha_bar)
        self._gain = -self.data_share * float(np.sqrt(1.0 - alpha_bar))

    def __call__(self, psi: Array) -> Array:
        """The mean of ``z_{l-1}``, or of theta for the first step: (..., d) -> (..., d)."""
        points = _stacked(psi)
        value, many = np.empty(points.shape), points.shape[1]
        stacks = max(1, _ROWS // max(many, 1))
        for first in range(0, len(points), stacks):
            for start in range(0, many, _ROWS):
                at = slice(first, first + stacks), slice(start, start + _ROWS)
                value[at] = self._skip * points[at] + self._gain * self.velocity(points[at])
        return self._in_units(value).reshape(psi.shape)

    def jacobian(self, psi: Array) -> Array:
        """The link's Jacobian: (..., d) -> (..., d, d)."""
        return self.value_and_jacobian(psi)[1]

    def value_and_jacobian(self, psi: Array) -> tuple[Array, Array]:
        """Value and Jacobian from one forward pass: (..., d) -> (..., d), (..., d, d)."""
        d, points = self.dim, _stacked(psi)
        velocity, slope = self._layers_at(points).forward_and_slope(points, self.step)
        slope = slope.astype(np.float64, order="C")
        slope *= self._gain
        slope += self._skip * np.eye(d)
        if self.scale is not None:
            slope = self.scale @ slope
        value = self._in_units(self._skip * points + self._gain * velocity)
        return value.reshape(psi.shape), slope.reshape(*psi.shape, d)

    def velocity(self, psi: Array) -> Array:
        """The network's prediction, in the units that it was trained in: (..., n, d) -> (..., n, d)."""
        return np.asarray(self._layers_at(psi).forward(psi, self.step)[0], dtype=np.float64)

    def in_single_precision(self, layers: Layers) -> DenoiserLink:
        """The same link with its network evaluated in single precision, given the layers in that precision."""
        twin = copy.copy(self)
        twin._layers = layers
        return twin

    def affine_predictor(self) -> tuple[Array, Array] | None:
        """The best affine predictor under the forward process, if known."""
        return self.predictor

    def _repr_facts(self) -> dict[str, Any]:
        return {"dim": self.dim, "step": self.step, "hidden": len(self.network.first)}

    def _layers_at(self, points: Array) -> Layers:
        """The layers to evaluate: those of double precision for points that single precision cannot hold."""
        far = self._layers.is_single and np.abs(points).max(initial=0.0) > _FAR
        return _layers(_Same(self.network)) if far else self._layers

    def _in_units(self, value: Array) -> Array:
        if self.scale is not None:
            value = value @ self.scale.T
        return value if self.offset is None else value + self.offset

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings and arrays, as `denoiser_from_state` accepts them."""
        arrays = {f"network.{name}": array for name, array in self.network._asdict().items()}
        if self.predictor is not None:
            arrays["predictor.weight"], arrays["predictor.offset"] = self.predictor
        arrays |= {} if self.scale is None else {"scale": self.scale}
        arrays |= {} if self.offset is None else {"offset": self.offset}
        settings = {
            "kind": "denoiser",
            "step": self.step,
            "alpha_bar": self.alpha_bar,
            "alpha_bar_before": self.alpha_bar_before,
        }
        return settings, arrays


def in_single_precision(links: Iterable[Link]) -> tuple[Link, ...]:
    """The links, with the networks of denoisers evaluated in single precision, in which they were trained.

    A network's values are off by some 1e-6 of the largest numbers in its layers, and a pass takes a quarter of the
    time. Points farther than 1e18 are evaluated in double precision.

    Examples
    --------
    >>> network = DenoiserNetwork(np.ones((4, 2)), *np.ones((2, 1, 4, 4)), np.ones((2, 4)), np.zeros(2),
    ...                           np.zeros((1, 2, 4)))
    >>> link = DenoiserLink(network, 1, 0.25, 1.0)
    >>> (single,) = in_single_precision([link])
    >>> 1e-9 < float(np.abs(single(np.ones(2)) / link(np.ones(2)) - 1).max()) < 1e-6
    True
    """
    singles: dict[int, Layers] = {}  # one for all links of a network, so that it stays in the cache
    found = []
    for link in links:
        if isinstance(link, DenoiserLink):
            key = id(link.network.first)
            if key not in singles:
                singles[key] = link._layers.in_single_precision()
            link = link.in_single_precision(singles[key])
        found.append(link)
    return tuple(found)


def denoiser_from_state(settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> DenoiserLink:
    """Build the link that `DenoiserLink.state` described."""
    known = "predictor.weight" in arrays
    return DenoiserLink(
        DenoiserNetwork(*(arrays[f"network.{name}"] for name in DenoiserNetwork._fields)),
        settings["step"],
        settings["alpha_bar"],
        settings["alpha_bar_before"],
        (arrays["predictor.weight"], arrays["predictor.offset"]) if known else None,
        arrays.get("scale"),
        arrays.get("offset"),
    )


def _stacked(psi: Array) -> Array:
    """Points (..., n, d) as (s, n, d): each layer is one product for n points, and their bytes depend on no others."""
    return psi.reshape(math.prod(psi.shape[:-2]), psi.shape[-2] if psi.ndim > 1 else 1, psi.shape[-1])


class _Same:
    """A network, equal to those of the same numbers: arrays that are changed are another network."""

    def __init__(self, network: DenoiserNetwork) -> None:
        self.network = network
        parts = (part for array in network for part in (str(array.shape).encode(), array.tobytes()))
        self._digest = sha256(b"".join(parts)).digest()

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._digest == other._digest


@lru_cache(maxsize=8)
def _layers(key: _Same) -> Layers:
    """The layers of a network, found once for the links of all its steps."""
    return multiplied_out(*key.network)


def _checked(network: DenoiserNetwork) -> DenoiserNetwork:
    """Return the network if its arrays fit each other and are finite, without a copy, because many links share it."""
    first, inner, outer, last, last_bias, times = (np.asarray(array, dtype=np.float64) for array in network)
    H, d = first.shape if first.ndim == 2 else (0, 0)
    B, L = len(np.atleast_1d(inner)), len(np.atleast_1d(times))
    shapes = {"inner": (B, H, H), "outer": (B, H, H), "last": (d, H), "last_bias": (d,), "times": (L, B + 1, H)}
    if first.ndim != 2 or not first.size:
        raise ValueError(f"first of network must have shape (any, any) and not be empty, got shape {first.shape}")
    for name, array in zip(network._fields, (first, inner, outer, last, last_bias, times), strict=True):
        if array.shape != shapes.get(name, first.shape):
            raise ValueError(f"{name} of network must have shape {shapes[name]}, got shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} of network must be finite, got {array[~np.isfinite(array)][0]} among its values")
    return DenoiserNetwork(first, inner, outer, last, last_bias, times)
