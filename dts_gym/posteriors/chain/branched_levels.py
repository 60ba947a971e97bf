"""The state of a chain whose lower levels are each action's own: evidence, surrogates, filters, draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.chain.chain import AffineMap, as_chain
from dts_gym.posteriors.chain.chain_posterior import Surrogate
from dts_gym.posteriors.chain.leave_one_out import parameter_law
from dts_gym.posteriors.chain.messages import Messages, smoothed_path, upward_messages, without_missing
from dts_gym.posteriors.chain.particles import Particles, default_defensive, pick, sample_actions, sample_shared
from dts_gym.posteriors.chain.resampling import normalised, resample, tempered
from dts_gym.posteriors.chain.surrogates import deck_surrogates, statistical_surrogates
from dts_gym.posteriors.chain.tangent_tracker import TangentSearch, side_by_side
from dts_gym.posteriors.chain.tangents import jacobian_surrogates
from dts_gym.posteriors.evidence import Evidence, log_evidence, matvec
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.glm.reward_evidence import RewardEvidence
from dts_gym.priors.prior import ChainPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import choice, finite_array, integer, integers

Pool = Literal["fresh", "kept"]

_CLOUD = 32  # least number of draws in a cloud
_LEAST_CHOSEN = 0.25  # effective sample size of the weights by which draws of the shared part are chosen, at least
FIXED_SEED = 20231116  # seed for draws by a fixed rule


def checked_pool(pool: Pool, branch: int, depth: int) -> Pool:
    """Return ``pool`` if it is a kind of pool that the branch allows; else raise ValueError."""
    if choice("pool", pool, get_args(Pool)) == "kept" and branch < depth:
        raise ValueError(f"pool must be one of {get_args(Pool)}, and 'fresh' below branch {depth}, got {pool!r}")
    return pool


class BranchedLevels:
    """The state of the levels that actions share and of their own: evidence, surrogates, filters, draws.

    Parameters
    ----------
    prior, model, branch, ..., num_shared_draws : as `BranchedPosterior`.

    Attributes
    ----------
    table : evidence of the played actions.
    effective_sample_size : effective sample size of the last filters, relative to their number of particles.
    """

    def __init__(
        self,
        prior: ChainPrior,
        model: RewardModel,
        *,
        branch: int,
        num_particles: int,
        surrogate: Surrogate,
        expansion: Mode,
        pool_size: int,
        pool: Pool,
        num_shared_draws: int = 1,
        offsets: Array | None = None,
    ) -> None:
        self.branch = integer("branch", branch, 1, prior.depth)
        self.num_particles = integer("num_particles", num_particles, 1)
        self.pool_size = integer("pool_size", pool_size, 1)
        self.pool = checked_pool(pool, self.branch, prior.depth)
        self.num_shared_draws = integer("num_shared_draws", num_shared_draws, 1)
        self._kept: tuple[float, Array] | None = None  # scale, draws
        self.table = ActionTable(prior.covariances[0])
        self.effective_sample_size = 1.0
        self._chain = as_chain(prior)
        if offsets is not None and not self.independent:
            raise ValueError(f"branch must be {prior.depth} with offsets, got {branch}")
        self._evidence = RewardEvidence(model, prior.dim, expansion, offsets)
        self._surrogate: Surrogate = surrogate
        self._defensive = default_defensive(prior, surrogate) if self.num_particles > 1 else 0.0
        self._statistical = statistical_surrogates(self._chain, np.random.default_rng(FIXED_SEED))
        self._maps = deck_surrogates(self._chain) if surrogate == "deck" else self._statistical
        # At branch L each played action has tangents of its own, found when its evidence changes.
        self._searches: list[TangentSearch] = []
        self._counts: list[int] = []  # number of updates of each played action
        self._path: list[Array] | None = None  # between, one search for all: its last path
        self._clouds = np.empty((0, self._cloud_size, prior.dim))
        self._left: IntArray = np.empty(0, dtype=np.int64)  # number of members of each cloud that are not used up
        self._cloud_scale = 1.0

    @property
    def independent(self) -> bool:
        """Whether actions share nothing."""
        return self.branch == len(self._chain.links)

    @property
    def _filters(self) -> int:
        """Number of filters that fill a cloud."""
        return max(1, _CLOUD // self.num_particles)

    @property
    def _cloud_size(self) -> int:
        return self._filters * self.num_particles

    def expect(self, context: Array, action: int, mean: float) -> None:
        """Condition on a reward equal to the mean of ``x' theta``, without a new search for tangents."""
        new = action not in self.table.slots
        noise = self._evidence.model.observed_variance(mean + self._evidence.added(context, action))
        self.table.observe(action, context, mean, noise)
        if not new:
            return
        self._add(action)
        # Tangents found for all played actions together have a row for each: the prior's, until they are found anew.
        self._maps = [
            own
            if own.weight.ndim == 2
            else AffineMap(*(np.concatenate([a, b[None]]) for a, b in zip(own, prior, strict=True)))
            for own, prior in zip(self._maps, self._statistical, strict=True)
        ]

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        new = action not in self.table.slots
        self._evidence.observe(self.table, context, action, reward, lambda: self._without(action))
        if new:
            self._add(action)
        slot = self.table.slots[action]
        self._counts[slot] += 1
        self._left[slot] = 0
        if self._own_tangents:
            self._searches[slot].search(self.table.messages(slot), self._counts[slot])
            return
        if self._surrogate == "jacobian":
            self._search_all()
        if not self.independent:
            self._evidence.renew(self.table, self._played_values, self._without, sum(self._counts))

    def _add(self, action: int) -> None:
        """Make room for an action that has been played for the first time."""
        self._counts.append(0)
        self._clouds = np.concatenate([self._clouds, np.zeros((1, *self._clouds.shape[1:]))])
        self._left = np.append(self._left, 0)
        if self._own_tangents:
            self._searches.append(self._new_search(action))

    def _new_search(self, action: int) -> TangentSearch:
        return TangentSearch(self._chain, self._statistical, (FIXED_SEED, action), all_modes=self.num_particles > 1)

    @property
    def _own_tangents(self) -> bool:
        return self.independent and self._surrogate == "jacobian"

    def _search_all(self) -> None:
        """Tangents for the present evidence of shared levels and all played actions, from the last path."""
        message = self.table.messages(list(range(len(self.table))))
        start = None
        if self._path is not None:
            start = list(self._path)
            missing = len(self.table) - len(start[0])
            if missing:
                start[: self.branch] = [
                    np.vstack([own, np.repeat(fresh[None], missing, axis=0)])
                    for own, fresh in zip(start[: self.branch], self._unplayed_path(start[self.branch]), strict=True)
                ]
        found = jacobian_surrogates(self._chain, message, self.branch, start)
        self._maps, self._path = found.surrogates, found.path

    def _played_values(self) -> Array:
        """The mean of each played action's ``f_1(psi_1)`` given all data, as if the surrogates were the links."""
        path = smoothed_path(self._chain, self._maps, self._upward(range(len(self.table))), self.branch)
        weight, offset = self._maps[0]
        return np.asarray((matvec(weight, path[0]) + offset) @ self.table.inverse.T)

    def _unplayed_path(self, psi: Array) -> list[Array]:
        """The most probable own levels of an action without data, given ``psi_{b+1}``: ``b`` arrays (d,)."""
        own: list[Array] = []
        for ell in range(self.branch, 0, -1):
            psi = self._chain.links[ell](psi)
            own.append(psi)
        return own[::-1]

    def mode_coverage(self) -> float:
        """As `ChainPosterior.mode_coverage`, the least of the eight actions with most rewards; 1 without any."""
        least, own = 1.0, self._own_tangents
        for slot in np.argsort(-np.array(self._counts, dtype=np.int64), kind="stable")[:8].tolist():
            search = self._searches[slot] if own else self._new_search(int(self.table.actions[slot]))
            guides, message = search.guides if own else self._maps, self.table.messages(slot)
            least = min(least, search.mode_coverage(message, guides, self.num_particles, self._defensive))
        return least

    def _without(self, action: int) -> tuple[Array, Array]:
        """Moments of an action's parameters given the other actions' data, as if the surrogates were the links."""
        slot, d = self.table.slots.get(action), self.table.dim
        maps = [self._map_of(ell, slot) for ell in range(1, len(self._chain.links) + 1)]
        others = Evidence(np.zeros((d, d)), np.zeros(d))
        if self.independent or not len(self.table):
            return parameter_law(self._chain, maps, 1, others)
        others = self._upward(range(len(self.table))).values[self.branch]
        if slot is not None:
            # Past the action's own levels alone, its message stands unsummed at the branch.
            own = upward_messages(self._chain, maps, self.table.messages(slot)).values[self.branch]
            others = Evidence(others.G - own.G, others.h - own.h)
        return parameter_law(self._chain, maps, self.branch + 1, others)

    def _map_of(self, ell: int, slot: int | None) -> AffineMap:
        """The surrogate of a link, an action's own up to the branch; before its first reward the prior's."""
        if self._own_tangents:
            return self._searches[slot].maps[ell - 1] if slot is not None else self._statistical[ell - 1]
        weight, offset = self._maps[ell - 1]
        if weight.ndim == 2:
            return self._maps[ell - 1]
        return self._statistical[ell - 1] if slot is None else AffineMap(weight[slot], offset[slot])

    def _upward(self, slots: Sequence[int]) -> Messages:
        """Messages on all levels, at branch L of some played actions, with a first axis of modes, else of all."""
        message = self.table.messages(list(slots))
        if not self._own_tangents:
            return upward_messages(self._chain, self._maps, message, self.branch)
        maps, missing = side_by_side([self._searches[slot] for slot in slots])
        return without_missing(upward_messages(self._chain, maps, message, self.branch), missing)

    def values(self, rng: np.random.Generator, scale: float, *, from_clouds: bool) -> tuple[Array, Array | None]:
        """One posterior draw of the played actions' ``f_1(psi_1)``, (P, d), and of ``f_{b+1}`` (d,) if it is shared."""
        played = range(len(self.table))
        if self.independent:
            if not played:
                return np.empty((0, self.table.dim)), None
            if from_clouds:
                return self._from_clouds(rng, scale), None
            own = self.own_filters(played, None, rng, scale)
            return pick(own, rng)[0], None
        parent: Array = self.shared_draws(1, rng, scale)[0]
        if not played:
            return np.empty((0, self.table.dim)), parent
        return pick(self.own_filters(played, parent[None], rng, scale), rng)[0], parent

    def shared_draws(self, size: int, rng: np.random.Generator, scale: float) -> Array:
        """Draws of ``f_{b+1}(psi_{b+1})``, (size, d).

        By filters with messages that have passed the actions' surrogates. Each is chosen from ``num_shared_draws`` of
        them, weighed by the product of the normalisers that the played actions' filters find under it over what the
        messages said of it: consistent in their number. The weights' spread grows as played actions over particles.
        """
        S = self.num_shared_draws if len(self.table) else 1
        parents, expected = self._shared_candidates(size * S, rng, scale)
        if S == 1:
            return parents
        found = self.own_filters(range(len(self.table)), parents, rng, scale).log_normaliser.sum(axis=-1)
        log_weights = (found - expected).reshape(size, S)
        self.effective_sample_size = min(self.effective_sample_size, float(normalised(log_weights)[1].mean()))
        chosen = (log_weights + rng.gumbel(size=(size, S))).argmax(axis=1)
        return np.asarray(parents.reshape(size, S, -1)[np.arange(size), chosen])

    def chosen_draws(
        self, size: int, rng: np.random.Generator, scale: float, num_particles: int | None = None
    ) -> tuple[Array, Particles | None]:
        """Draws of the shared part (size, d) and the played actions' filters under them; None where none is played.

        They are chosen from ``num_shared_draws`` times as many by the weights of `shared_draws`, all at once: what the
        filters find costs nothing more. Where these weights would leave a quarter of the draws or less they are
        tempered, for then they are mostly the filters' noise.
        """
        played, S = range(len(self.table)), self.num_shared_draws
        if not played:
            return self._shared_candidates(size, rng, scale)[0], None
        parents, expected = self._shared_candidates(size * S, rng, scale)
        own = self.own_filters(played, parents, rng, scale, num_particles=num_particles)
        log_weights = tempered(own.log_normaliser.sum(axis=-1) - expected, _LEAST_CHOSEN)
        chosen = resample(log_weights[None], rng)[0, ::S]
        return parents[chosen], Particles(*(part[chosen] for part in own))

    def _shared_candidates(self, size: int, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
        """Draws of the shared part by the messages, (size, d), and what these say of each in logarithms, (size,)."""
        played, d = range(len(self.table)), self.table.dim
        nothing = Evidence(np.zeros((1, d, d)), np.zeros((1, d)))
        messages = (
            self._upward(played) if played else upward_messages(self._chain, self._statistical, nothing, self.branch)
        )
        particles = sample_shared(
            self._chain, messages, self.branch, self.num_particles, rng,
            size=size, exploration=scale, defensive=self._defensive,
        )  # fmt: skip
        self.effective_sample_size = float(particles.effective_sample_size.mean())
        parents = pick(particles, rng)
        return parents, log_evidence(messages.values[self.branch], parents) / scale**2

    def own_filters(
        self,
        slots: Sequence[int],
        parents: Array | None,
        rng: np.random.Generator,
        scale: float,
        *,
        size: int = 1,
        num_particles: int | None = None,
    ) -> Particles:
        """Filters of played actions' own levels, (n, k, P, d), given draws (n, d) of a shared part."""
        particles = sample_actions(
            self._chain, self._upward(slots), self.branch, parents, num_particles or self.num_particles, rng,
            size=size, exploration=scale, defensive=self._defensive, mixed=self._own_tangents,
        )  # fmt: skip
        least = float(particles.effective_sample_size.mean())
        self.effective_sample_size = least if parents is None else min(self.effective_sample_size, least)
        return particles

    def _from_clouds(self, rng: np.random.Generator, scale: float) -> Array:
        """The next member of every played action's cloud, (P, d)."""
        if scale != self._cloud_scale:
            self._left[:] = 0
            self._cloud_scale = scale
        empty = np.flatnonzero(self._left == 0)
        if empty.size:
            particles = self.own_filters(empty.tolist(), None, rng, scale, size=self._filters)
            n, k, P = particles.log_weights.shape
            ancestors = resample(particles.log_weights.reshape(n * k, P), rng).reshape(n, k, P)
            members = np.take_along_axis(particles.value, ancestors[..., None], axis=-2)
            members = members.transpose(1, 0, 2, 3).reshape(k, n * P, -1)
            order = rng.random((k, n * P)).argsort(axis=1)
            self._clouds[empty] = np.take_along_axis(members, order[..., None], axis=1)
            self._left[empty] = n * P
        self._left -= 1
        return np.asarray(self._clouds[np.arange(len(self._left)), self._left])

    def drop_clouds(self) -> None:
        """Drop the draws that were kept for the next choices."""
        self._left[:] = 0

    def prior_values(self, size: int, parent: Array | None, rng: np.random.Generator, scale: float) -> Array:
        """Draws of an unplayed action's ``f_1(psi_1)``, (size, d), given the shared part."""
        mean = np.zeros(self.table.dim) if parent is None else parent
        value = np.broadcast_to(mean, (size, len(mean)))
        for ell in range(self.branch, 0, -1):
            root = self._chain.roots[ell]
            value = self._chain.links[ell - 1](value + scale * rng.standard_normal((size, root.shape[1])) @ root.T)
        return np.asarray(value)

    def pool_values(self, size: int, parent: Array | None, rng: np.random.Generator, scale: float) -> Array:
        """Draws that represent the unplayed actions of this round, (size, d)."""
        if self.pool == "fresh":
            return self.prior_values(size, parent, rng, scale)
        if self._kept is None or self._kept[0] != scale:
            # By a fixed rule, so that a restored posterior has the same draws.
            drawn = self.prior_values(self.pool_size, None, np.random.default_rng(FIXED_SEED), scale)
            self._kept = scale, drawn
        # Draws in a row are independent, so a random stretch of them is as good as a random choice, and cheap.
        start = int(rng.integers(self.pool_size))
        return np.take(self._kept[1], range(start, start + size), axis=0, mode="wrap")

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        state: dict[str, Array | IntArray] = {
            **self.table.state(),
            **self._evidence.state(),
            "clouds": self._clouds.copy(),
            "left": self._left.copy(),
            "counts": np.array(self._counts, dtype=np.int64),
            "scalars": np.array([self._cloud_scale, self.effective_sample_size]),
        }
        for slot, search in enumerate(self._searches):
            state |= {f"search.{slot}.{name}": array for name, array in search.state().items()}
        if self._path is not None:
            for ell, (psi, (weight, offset)) in enumerate(zip(self._path, self._maps, strict=True)):
                state |= {f"path.{ell}": psi, f"weight.{ell}": weight, f"offset.{ell}": offset}
        return state

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.table.restore(state)
        self._evidence.restore(state)
        P, d = len(self.table), self.table.dim
        self._clouds = finite_array("clouds", state["clouds"], (P, self._cloud_size, d))
        self._left = integers("left", state["left"], P, self._cloud_size + 1)
        self._counts = integers("counts", state["counts"], P, 1 << 62).tolist()
        self._cloud_scale, self.effective_sample_size = (float(x) for x in state["scalars"])
        self._searches = []
        if self._own_tangents:
            for slot, action in enumerate(self.table.actions.tolist()):
                search, prefix = self._new_search(action), f"search.{slot}."
                search.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
                self._searches.append(search)
        if "path.0" in state:
            self._path, self._maps = [], []
            for ell in range(len(self._chain.links)):
                lead = (P,) if ell < self.branch else ()
                self._path.append(finite_array(f"path.{ell}", state[f"path.{ell}"], (*lead, d)))
                lead = lead if np.ndim(state[f"offset.{ell}"]) > 1 else ()  # an affine link has one map for all actions
                shapes = {"weight": (*lead, d, d), "offset": (*lead, d)}
                self._maps.append(AffineMap(*(finite_array(n, state[f"{n}.{ell}"], s) for n, s in shapes.items())))
