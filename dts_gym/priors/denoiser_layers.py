"""A denoiser's network as it is evaluated: what is linear between its activations is multiplied out once.

A residual perceptron adds to a stream of H numbers what each of its B blocks makes of it, and only the blocks'
activations are not linear. So the input of an activation is one affine map of the point and of the activations before
it, and the output is another: B (B - 1) / 2 products of H by H numbers for a point in place of 2 B, one for two blocks
in place of four. The values are the same to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.utils.arrays import Array


class Layers(NamedTuple):
    """The affine maps of a network of B blocks, from ``[z, r_0, ..., r_{B-1}]``, of which each reads the first part.

    ``r_k`` is minus an activation, ``w / (1 + exp(w))`` of minus its input ``w``: one pass less than the activation.

    Attributes
    ----------
    weights : B + 1 arrays, (d + k H, H) into the k-th activation, and (d + B H, d) into the velocity.
    biases : B + 1 arrays, (L, H), and (L, d) for the velocity: a row for each step.
    """

    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any], ...]

    @property
    def is_single(self) -> bool:
        """Whether the arrays are of single precision."""
        return self.weights[0].dtype == np.float32

    def in_single_precision(self) -> Layers:
        """The same maps rounded to single precision."""
        return Layers(*(tuple(array.astype(np.float32) for array in arrays) for arrays in self))

    def forward(self, points: Array, step: int) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """The velocity at points (..., n, d) of a step 1..L, and minus the inputs of each activation, (..., n, H)."""
        d = points.shape[-1]
        known = np.empty((*points.shape[:-1], len(self.weights[-1])), self.weights[-1].dtype)
        known[..., :d] = points
        entering = []
        with np.errstate(over="ignore"):  # of an exponential, whose activation is then 0
            for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
                end = len(weight)
                w = known[..., :end] @ weight
                w += bias[step - 1]
                entering.append(w)
                grown = np.exp(w)
                grown += 1.0
                np.divide(w, grown, out=known[..., end : end + w.shape[-1]])
        return known @ self.weights[-1] + self.biases[-1][step - 1], entering

    def forward_and_slope(self, points: Array, step: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The velocity at points (s, n, d), and its Jacobian (s, n, d, d)."""
        velocity, entering = self.forward(points, step)
        (s, n, d), total = points.shape, len(self.weights[-1])
        moved = np.empty((s, n * d, total), velocity.dtype)  # what follows each coordinate of a point
        moved[..., :d] = np.tile(np.eye(d), (n, 1))
        for weight, w in zip(self.weights, entering, strict=False):
            end, H = weight.shape
            with np.errstate(over="ignore"):
                q = 1.0 / (1.0 + np.exp(w))
            slope = q * (1.0 - w * (1.0 - q))  # (s, n, H), of the activation
            through = (moved[..., :end] @ weight).reshape(s, n, d, H)
            np.multiply(through, slope[..., None, :], out=moved.reshape(s, n, d, total)[..., end : end + H])
        return velocity, (moved @ self.weights[-1]).reshape(s, n, d, d).swapaxes(-1, -2)


def multiplied_out(first: Array, inner: Array, outer: Array, last: Array, last_bias: Array, times: Array) -> Layers:
    """The maps of a network given by the arrays of `dts_gym.priors.denoisers.DenoiserNetwork`: O(B^2 H^3)."""
    H, d = first.shape
    stream = np.concatenate([first, *(-block for block in outer)], axis=1)  # (H, d + B H), what adds to it
    ends = [d + k * H for k in range(len(inner))]
    start = times[:, 0]  # (L, H), the stream at z = 0 before the first block
    into = [np.ascontiguousarray(-(block @ stream[:, :end]).T) for block, end in zip(inner, ends, strict=True)]
    biases = [-(start @ block.T + time) for block, time in zip(inner, times[:, 1:].swapaxes(0, 1), strict=True)]
    return Layers((*into, np.ascontiguousarray((last @ stream).T)), (*biases, start @ last.T + last_bias))
