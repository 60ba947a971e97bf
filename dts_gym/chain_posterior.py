"""The posterior of a chain whose links are not affine: the shared levels by particles, the actions in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from dts_gym.action_posterior import ActionPosterior
from dts_gym.arrays import Array, IntArray, integer
from dts_gym.glm_posterior import REFRESH_EVERY
from dts_gym.glm_table import GLMTable, Mode
from dts_gym.messages import Evidence, condition
from dts_gym.particles import Particles, default_defensive, pick, sample_shared
from dts_gym.priors import Prior
from dts_gym.rewards import GaussianReward, RewardModel
from dts_gym.surrogates import (
    AffineMap,
    as_chain,
    deck_surrogates,
    jacobian_surrogates,
    statistical_surrogates,
    upward_messages,
)

Surrogate = Literal["jacobian", "statistical", "deck"]

# Moments of the shared part come from this many particles by a fixed rule: greedy play is a function of the data.
_MOMENT_DRAWS = 512
# Changes of the evidence up to which tangents are sought from many starts each time, the period after that, and the
# number of starts drawn from the prior.
_OFTEN, _NOW_AND_THEN, _PRIOR_STARTS = 64, 32, 14
_FIXED_SEED = 20231115


class ChainPosterior(ActionPosterior):
    """Posterior of ``theta_a ~ N(f_1(psi_1), Sigma_1)`` with psi_1 the end of a chain that all actions share.

    Parameters
    ----------
    prior : a chain of any links, read at branch 0.
    num_actions : K; costs nothing, only played actions are stored.
    model : law of the rewards.
    num_particles : P of the twisted filter, a filter a draw.
    surrogate : affine stand-ins for the links in the upward messages: "jacobian", "statistical" or "deck".
    expansion : of rewards that are not Gaussian, as `GLMTable` says.
    seed : of the statistical surrogates' draws, made once.

    Notes
    -----
    Consistent in P for the chain's posterior given the evidence, which is exact for Gaussian rewards and a quadratic
    expansion for the others; P = 1 is the linearised rule, and with "deck" the deck's. Evidence goes up in closed form
    (a round's O(d^2) under Gaussian rewards), a draw of the shared levels costs O(P L d^2) and P L link evaluations,
    tangents a few passes of O(L d^3) a round. `moments`, `greedy` and `upper_confidence` are Monte Carlo averages
    by a rule that is fixed, so that they depend on the data alone.
    """

    def __init__(
        self,
        prior: Prior,
        num_actions: int,
        model: RewardModel,
        *,
        num_particles: int = 32,
        surrogate: Surrogate = "jacobian",
        expansion: Mode = "map",
        seed: int = _FIXED_SEED,
    ) -> None:
        d = prior.dim
        if surrogate not in get_args(Surrogate):
            raise ValueError(f"surrogate must be one of {get_args(Surrogate)}, got {surrogate!r}")
        super().__init__(np.zeros(d), prior.covariances[0], num_actions)
        self.num_particles = integer("num_particles", num_particles, 1)
        self._chain = as_chain(prior)
        self._action_cov = prior.covariances[0]
        self._surrogate: Surrogate = surrogate
        self._defensive = default_defensive(prior, surrogate) if self.num_particles > 1 else 0.0
        self._noise_variance = model.noise_std**2 if isinstance(model, GaussianReward) else None
        self._glm = None if isinstance(model, GaussianReward) else GLMTable(model, d, expansion)
        self._statistical = statistical_surrogates(self._chain, np.random.default_rng(seed))
        self._maps = deck_surrogates(self._chain) if surrogate == "deck" else self._statistical
        self._path: list[Array] | None = None
        self._message = Evidence(np.zeros((d, d)), np.zeros(d))  # on f_1(psi_1), in the parameters' coordinates
        self._changes = 0
        self._fresh = False  # whether the tangents are those of the evidence as it stands
        self._known_moments: dict[float, tuple[Array, Array]] = {}
        self.effective_sample_size = 1.0

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        if self._glm is None:
            assert self._noise_variance is not None
            self._mark_played(action)
            v, variance, residual = self.table.observe(action, context, reward, self._noise_variance)
            change = Evidence(np.multiply.outer(v, v / variance), v * (residual / variance))
        else:
            G, h = self._glm.observe(action, context, reward, self._mode(), self._action_cov)
            self._mark_played(action)
            change = self.table.replace(action, G, h)
        self._changes += 1
        inverse = self.table.inverse
        if self._changes % REFRESH_EVERY == 0:
            total = self.table.total()
            self._message = Evidence(inverse.T @ total.G @ inverse, total.h @ inverse)
        else:
            G, h = self._message
            self._message = Evidence(G + inverse.T @ change.G @ inverse, h + change.h @ inverse)
        self._fresh, self._known_moments = False, {}

    def _surrogates(self) -> list[AffineMap]:
        """The surrogates for the evidence as it stands; tangents are sought once a change.

        They are sought from where they were, and while evidence is scarce or now and then also from other starts: the
        densest path is kept.
        """
        if self._surrogate == "jacobian" and not self._fresh:
            search = self._path is None or self._changes <= _OFTEN or self._changes % _NOW_AND_THEN == 0
            starts = self._starts() if search else [psi[None] for psi in self._path or []]
            G, h = self._message
            n = len(starts[0])
            message = Evidence(np.broadcast_to(G, (n, *G.shape)), np.broadcast_to(h, (n, *h.shape)))
            found = jacobian_surrogates(self._chain, message, 0, starts)
            best = int(found.log_density.argmax())
            self._maps = [
                AffineMap(*(part[best] if part.ndim > i else part for i, part in ((2, A), (1, c))))
                for A, c in found.surrogates
            ]
            self._path = [psi[best] for psi in found.path]
            self._fresh = True
        return self._maps

    def _starts(self) -> list[Array]:
        """Paths from which tangents are sought, (n, d) a level: the last, the statistical surrogates', prior draws."""
        rng = np.random.default_rng([_FIXED_SEED, self._changes])
        psi = np.zeros((_PRIOR_STARTS, len(self._center)))
        drawn = []
        for ell in range(len(self._chain.links), 0, -1):
            root = self._chain.roots[ell]
            psi = psi + rng.standard_normal((_PRIOR_STARTS, root.shape[1])) @ root.T
            drawn.append(psi)
            psi = self._chain.links[ell - 1](psi)
        smooth = self._smoothed_path()
        known = [smooth] if self._path is None else [self._path, smooth]
        return [np.vstack([*(path[i] for path in known), drawn[-1 - i]]) for i in range(len(smooth))]

    def _smoothed_path(self) -> list[Array]:
        """The most probable path were the statistical surrogates the links."""
        messages = upward_messages(self._chain, self._statistical, self._message)
        mean: Array = np.zeros(len(self._center))
        path: list[Array] = []
        for ell in range(len(self._chain.links), 0, -1):
            if path:
                A, c = self._statistical[ell]  # of f_{ell+1}
                mean = A @ path[-1] + c
            path.append(condition(mean, messages.latents[ell - 1], self._chain.covariances[ell])[0])
        return path[::-1]

    def _mode(self) -> Array:
        """``f_1`` of the latents' most probable path (of the statistical surrogates' mean path, where they rule)."""
        self._surrogates()
        if self._path is None or self._surrogate != "jacobian":
            return self.table.basis @ self._shared_moments(1.0)[0]
        return np.asarray(self._chain.links[0](self._path[0]))

    def _filtered(self, size: int, rng: np.random.Generator, scale: float) -> Particles:
        """Independent filters of the shared levels; notes their effective sample size."""
        messages = upward_messages(self._chain, self._surrogates(), self._message)
        P, share = self.num_particles, self._defensive
        particles = sample_shared(self._chain, messages, 0, P, rng, size=size, exploration=scale, defensive=share)
        self.effective_sample_size = float(particles.effective_sample_size.mean())
        return particles

    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        size = math.prod(lead)
        drawn = pick(self._filtered(size, rng, scale), rng) if size else np.empty((0, len(self._center)))
        return np.asarray((drawn @ self.table.inverse.T).reshape(*lead, len(self._center)))

    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        if scale not in self._known_moments:
            size = max(1, _MOMENT_DRAWS // self.num_particles)
            particles = self._filtered(size, np.random.default_rng(_FIXED_SEED), scale)
            weights = np.exp(particles.log_weights).ravel() / size
            values = particles.value.reshape(-1, len(self._center)) @ self.table.inverse.T
            mean = weights @ values
            self._known_moments[scale] = mean, (np.sqrt(weights)[:, None] * (values - mean)).T
        return self._known_moments[scale]

    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        state: dict[str, Array | IntArray] = {
            "message.G": self._message.G,
            "message.h": self._message.h,
            "changes": np.array([self._changes, self._fresh], dtype=np.int64),
            "effective_sample_size": np.array([self.effective_sample_size]),
            "maps.weight": np.array([surrogate.weight for surrogate in self._maps]),
            "maps.offset": np.array([surrogate.offset for surrogate in self._maps]),
        }
        if self._path is not None:
            state["path"] = np.array(self._path)
        if self._glm is not None:
            state |= {f"glm.{name}": array for name, array in self._glm.state().items()}
        return state

    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        if self._glm is not None:
            self._glm.restore({name.removeprefix("glm."): v for name, v in state.items() if name.startswith("glm.")})
        self._message = Evidence(np.asarray(state["message.G"], float), np.asarray(state["message.h"], float))
        self._changes, self._fresh = int(state["changes"][0]), bool(state["changes"][1])
        self.effective_sample_size = float(state["effective_sample_size"][0])
        weights, offsets = np.asarray(state["maps.weight"], float), np.asarray(state["maps.offset"], float)
        self._maps = [AffineMap(A, c) for A, c in zip(weights, offsets, strict=True)]
        self._path = list(np.asarray(state["path"], float)) if "path" in state else None
        self._known_moments = {}
