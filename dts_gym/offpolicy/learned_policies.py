"""Policies that `learn` returns: greedy or pessimistic on a posterior, softmax, and Gaussian-perturbed ones."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.special import log_ndtr, softmax

from dts_gym.offpolicy.log import block_slices
from dts_gym.offpolicy.policies import greedy_probabilities
from dts_gym.offpolicy.reward_fits import LinearFit, RewardFit
from dts_gym.posteriors.totals import ActionMoments
from dts_gym.utils.archives import read_archive, write_archive
from dts_gym.utils.arrays import Array, BoolArray
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import LARGEST, as_float64, finite_array, integer

FORMAT = 1
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(48)
NODE_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class LearnedPolicy(Shown, ABC):
    """A policy learned from a log.

    Attributes
    ----------
    learner : name of the learner.
    learned_from : fingerprint of the log, by which `evaluate` knows a policy that is judged on the log that it is from.
    num_actions, shape : K, and the shape of one context.
    guarantee : a lower bound of the policy's value that holds with the learner's ``level``; None where there is none.
    """

    def __init__(
        self, learner: str, learned_from: str, num_actions: int, shape: tuple[int, ...], guarantee: float | None = None
    ) -> None:
        self.learner, self.learned_from, self.guarantee = learner, learned_from, guarantee
        self.num_actions, self.shape = num_actions, shape

    def action_probabilities(self, contexts: Any, mask: Any = None) -> Array:
        """Probabilities of the actions.

        Parameters
        ----------
        contexts : (d,) or (n, d); with shared features (K, d) or (n, K, d).
        mask : (K,) or (n, K) booleans, the actions that may be played; None allows all.

        Returns
        -------
        (K,) or (n, K)
        """
        x, allowed, single = self._checked(contexts, mask)
        out = np.empty((len(x), self.num_actions))
        for block, p in self._blocks(x, allowed):
            out[block] = p
        return out[0] if single else out

    def act(self, contexts: Any, mask: Any = None) -> Any:
        """The most probable action: an int, or (n,) of n contexts."""
        x, allowed, single = self._checked(contexts, mask)
        best = np.empty(len(x), dtype=np.int64)
        for block, p in self._blocks(x, allowed):
            best[block] = p.argmax(axis=1)
        return int(best[0]) if single else best

    def _checked(self, contexts: Any, mask: Any) -> tuple[Array, BoolArray | None, bool]:
        """Contexts (n, d) or (n, K, d) and masks (n, K), and whether one context was given."""
        raw = as_float64("contexts", contexts)
        single = raw.ndim == len(self.shape)
        x = finite_array("contexts", raw[None] if single else raw, (None, *self.shape), LARGEST, copy=False)
        allowed = None
        if mask is not None:
            allowed = np.broadcast_to(np.asarray(mask, dtype=bool), (len(x), self.num_actions))
            if not allowed.any(axis=1).all():
                raise ValueError(
                    f"mask must allow an action or more, got none in row {int((~allowed.any(1)).argmax())}"
                )
        return x, allowed, single

    def _blocks(self, contexts: Array, allowed: BoolArray | None) -> Iterator[tuple[slice, Array]]:
        """Blocks of checked contexts, each with its probabilities (b, K)."""
        for block in block_slices(len(contexts), self._width()):
            yield block, self._probabilities(contexts[block], None if allowed is None else allowed[block])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy to a file .npz, for `load_policy`.

        Raises
        ------
        ValueError
            If it rests on a chain whose links are not affine.
        """
        settings = {"format": FORMAT, "kind": type(self).__name__, "learner": self.learner, "shape": list(self.shape)}
        settings |= {"num_actions": self.num_actions, "from": self.learned_from, "guarantee": self.guarantee}
        write_archive(path, self._arrays(), settings)

    def _width(self) -> int:
        """Numbers that a context needs while probabilities are computed."""
        return self.num_actions * self.shape[-1]

    @abstractmethod
    def _probabilities(self, contexts: Array, mask: BoolArray | None) -> Array:
        """Probabilities (n, K) for checked contexts."""

    @abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """Arrays from which `load_policy` makes the policy."""

    def _repr_facts(self) -> Mapping[str, Any]:
        return {"learner": self.learner, "num_actions": self.num_actions, "guarantee": self.guarantee}


class PosteriorPolicy(LearnedPolicy):
    """Plays the largest posterior mean less ``pessimism`` posterior standard deviations of ``x' theta_a``."""

    def __init__(self, fit: RewardFit, pessimism: float, *about: Any) -> None:
        super().__init__(*about)
        self._fit, self.pessimism = fit, pessimism

    def _probabilities(self, contexts: Array, mask: BoolArray | None) -> Array:
        if self.pessimism:
            mean, deviations = self._fit.score_moments(contexts)
            return greedy_probabilities(mean - self.pessimism * deviations, mask)
        return greedy_probabilities(self._fit.score_means(contexts), mask)

    def _arrays(self) -> dict[str, Array]:
        if not isinstance(self._fit, LinearFit):
            raise ValueError(f"policy must rest on a linear chain to be saved, got {type(self._fit).__name__}")
        return {**self._fit.moments._asdict(), "pessimism": np.array([self.pessimism])}


class SoftmaxPolicy(LearnedPolicy):
    """Plays action a with probability proportional to ``exp(x' theta_a)``."""

    def __init__(self, parameters: Array, *about: Any) -> None:
        super().__init__(*about)
        self.parameters = parameters  # (K, d), or (1, d) of shared features

    def _probabilities(self, contexts: Array, mask: BoolArray | None) -> Array:
        return softmax_probabilities(self.parameters, contexts, mask)

    def _arrays(self) -> dict[str, Array]:
        return {"parameters": self.parameters}


class PerturbedPolicy(LearnedPolicy):
    """Plays the best action under parameters drawn from ``N(parameters, noise^2 I)``, anew for each context."""

    def __init__(self, parameters: Array, noise: float, *about: Any) -> None:
        super().__init__(*about)
        self.parameters, self.noise = parameters, noise  # (K, d)

    def _width(self) -> int:
        return self.num_actions**2 * len(NODES)

    def _probabilities(self, contexts: Array, mask: BoolArray | None) -> Array:
        K = self.num_actions
        allowed = np.ones((len(contexts), K), dtype=bool) if mask is None else mask
        scores, spread = contexts @ self.parameters.T, self.noise * np.linalg.norm(contexts, axis=1)
        scaled = scores / np.maximum(spread, 1e-300)[:, None]
        gaps = scaled[:, :, None, None] - scaled[:, None, :, None] + NODES  # (n, action, rival, node)
        counted = allowed[:, None, :] & ~np.eye(K, dtype=bool)
        beaten = np.where(counted[..., None], log_ndtr(gaps), 0.0).sum(axis=2)
        out = np.where(allowed, np.exp(beaten) @ NODE_WEIGHTS, 0.0)
        return np.asarray(out / out.sum(axis=1, keepdims=True))

    def _arrays(self) -> dict[str, Array]:
        return {"parameters": self.parameters, "noise": np.array([self.noise])}


def softmax_probabilities(parameters: Array, contexts: Array, mask: BoolArray | None) -> Array:
    """Probabilities proportional to ``exp(x' theta_a)``, (n, K)."""
    logits = contexts @ parameters[0] if contexts.ndim == 3 else contexts @ parameters.T
    return np.asarray(softmax(logits if mask is None else np.where(mask, logits, -np.inf), axis=1))


def load_policy(path: str | os.PathLike[str]) -> LearnedPolicy:
    """Read a policy that `LearnedPolicy.save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or no policy.
    """
    arrays, settings = read_archive(path)
    if settings.get("format") != FORMAT or "learner" not in settings:
        raise ValueError(f"path must be a file of a learned policy, got {os.fspath(path)!r}")
    K, shape = integer("num_actions", settings["num_actions"], 1), tuple(settings["shape"])
    about = settings["learner"], settings["from"], K, shape, settings["guarantee"]
    kind = settings["kind"]
    if kind == "SoftmaxPolicy":
        return SoftmaxPolicy(arrays["parameters"], *about)
    if kind == "PerturbedPolicy":
        return PerturbedPolicy(arrays["parameters"], float(arrays["noise"][0]), *about)
    moments = ActionMoments(arrays["mean"], arrays["spread"], arrays["own"])
    return PosteriorPolicy(LinearFit.of(moments, len(shape) == 2), float(arrays["pessimism"][0]), *about)
