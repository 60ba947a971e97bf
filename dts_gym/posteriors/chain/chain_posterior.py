"""The posterior of a chain whose links are not affine: the shared levels by particles, the actions in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Increment
from dts_gym.posteriors.chain.chain import AffineMap, as_chain
from dts_gym.posteriors.chain.leave_one_out import law_without, parameter_law
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.particles import Particles, default_defensive, pick, sample_shared
from dts_gym.posteriors.chain.surrogates import deck_surrogates, statistical_surrogates
from dts_gym.posteriors.chain.tangent_tracker import TangentSearch
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_posterior import REFRESH_EVERY
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.glm.reward_evidence import RewardEvidence
from dts_gym.priors.prior import ChainPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import choice, integer

Surrogate = Literal["jacobian", "statistical", "deck"]

# Moments of the shared part come from this many particles or more by a fixed rule, greedy play being a function of the
# data, and from so many filters at least: where particles are many, few filters would average little.
_MOMENT_DRAWS, _MOMENT_FILTERS = 512, 16
_FIXED_SEED = 20231115


class ChainPosterior(ActionPosterior):
    """Posterior of ``theta_a ~ N(f_1(psi_1), Sigma_1)`` with psi_1 the end of a chain that all actions share.

    Parameters
    ----------
    prior : a chain of any links, read at branch 0.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    model : distribution of the rewards.
    num_particles : P, the number of particles of the twisted filter; each draw has its own filter.
    surrogate : affine maps that replace the links in the upward messages: "jacobian", "statistical" or "deck".
    expansion : where rewards that are not Gaussian are expanded, see `GLMTable`.
    seed : seed for the statistical surrogates' draws, which are made once.

    Notes
    -----
    Consistent in P for the chain's posterior given the evidence, which is exact for Gaussian rewards and a quadratic
    expansion for the others; P = 1 is the linearised rule, and with the surrogate "deck" the rule of the paper's
    slides. Evidence goes up in closed form (a round's O(d^2) under Gaussian rewards), a draw of the shared levels costs
    O(P L d^2) and P L link evaluations, tangents a few passes of O(L d^3) a round. `moments`, `greedy` and
    `upper_confidence` are Monte Carlo averages by a fixed rule, so that they depend on the data alone.
    """

    def __init__(
        self,
        prior: ChainPrior,
        num_actions: int,
        model: RewardModel,
        *,
        num_particles: int = 32,
        surrogate: Surrogate = "jacobian",
        expansion: Mode = "map",
        seed: int = _FIXED_SEED,
    ) -> None:
        d = prior.dim
        choice("surrogate", surrogate, get_args(Surrogate))
        super().__init__(np.zeros(d), prior.covariances[0], num_actions)
        self.num_particles = integer("num_particles", num_particles, 1)
        self.chain = as_chain(prior)
        self.defensive = default_defensive(prior, surrogate) if self.num_particles > 1 else 0.0
        self.evidence = RewardEvidence(model, d, expansion)
        self._statistical = statistical_surrogates(self.chain, np.random.default_rng(seed))
        self.fixed = deck_surrogates(self.chain) if surrogate == "deck" else self._statistical
        self.search: TangentSearch | None = None
        if surrogate == "jacobian":
            self.search = TangentSearch(self.chain, self._statistical, (seed,), all_modes=self.num_particles > 1)
        self.message = Evidence(np.zeros((d, d)), np.zeros(d))  # on f_1(psi_1), in the parameters' coordinates
        self.changes = 0
        self._known: dict[float, tuple[Array, Array]] = {}  # for each scale the shared part's sample
        self.effective_sample_size = 1.0
        self._follow()

    @property
    def _maps(self) -> list[AffineMap]:
        """The surrogates for the present evidence."""
        return self.fixed if self.search is None else self.search.maps

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        new = action not in self.table.slots
        change = self.evidence.observe(self.table, context, action, reward, lambda: self._without(action))
        if new:
            self.unplayed.remove(action)
        self.changes += 1
        self._hear(change)
        renewed = self.evidence.renew(self.table, self._mean_of_shared, self._without, self.changes)
        if renewed is not None:
            self._hear(renewed)
        if self.changes % REFRESH_EVERY == 0:
            self.message = self.table.to_parameters(self.table.total())
        self._follow()

    def _hear(self, change: Evidence) -> None:
        """Add a change of an action's message, given in the table's coordinates."""
        more = self.table.to_parameters(change)
        self.message = Evidence(self.message.G + more.G, self.message.h + more.h)

    def _noise_variance(self, predictor: float) -> float:
        return self.evidence.model.observed_variance(predictor)

    def _absorb(self, increment: Increment) -> None:
        self._hear(increment.evidence())
        self._known = {}  # the tangents do not move

    def _follow(self) -> None:
        """Update the tangents to the evidence: here, not on reading, so that reading changes nothing."""
        self._known = {}
        if self.search is not None:
            self.search.search(self.message, self.changes)

    def take_over(self, message: Evidence, changes: int, effective_sample_size: float) -> None:
        """Hold what was learned with other runs' posteriors, when the table and the search hold it already."""
        self.message, self.changes, self.effective_sample_size = message, changes, effective_sample_size
        self._known = {}

    def _without(self, action: int) -> tuple[Array, Array]:
        """Moments of an action's parameters given the other actions' data, as if the surrogates were the links."""
        return law_without(self.chain, self._maps, self.table, self.message, action)

    def _mean_of_shared(self) -> Array:
        """Mean of the shared part given all data, as if the surrogates were the links; in the table's coordinates."""
        return np.asarray(self.table.inverse @ parameter_law(self.chain, self._maps, 1, self.message)[0])

    @property
    def _guides(self) -> list[AffineMap]:
        """The surrogates of all guides: those of every mode, with a first axis, where there are several."""
        return self.fixed if self.search is None else self.search.guides

    def mode_coverage(self) -> float:
        """The share of the modes' mass that lies where the particles can be expected to go.

        The modes are those that a search of this call's own finds, from 64 draws of the prior: some ms. See
        `dts_gym.posteriors.chain.modes.visited_mass`.
        """
        search = self.search or TangentSearch(self.chain, self._statistical, (_FIXED_SEED,))
        return search.mode_coverage(self.message, self._guides, self.num_particles, self.defensive)

    def _filtered(self, size: int, rng: np.random.Generator, scale: float) -> Particles:
        """Independent filters of the shared levels; notes their effective sample size."""
        several = self.search is not None and self.search.modes is not None
        messages = upward_messages(self.chain, self._guides, self.message)
        particles = sample_shared(
            self.chain, messages, 0, self.num_particles, rng,
            size=size, exploration=scale, defensive=self.defensive, mixed=several,
        )  # fmt: skip
        self.effective_sample_size = float(particles.effective_sample_size.mean())
        return particles

    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        size = math.prod(lead)
        drawn = pick(self._filtered(size, rng, scale), rng) if size else np.empty((0, len(self.center)))
        return np.asarray((drawn @ self.table.inverse.T).reshape(*lead, len(self.center)))

    def _shared_sample(self, scale: float) -> tuple[Array, Array]:
        if scale not in self._known:
            particles = self._filtered(self.num_moment_filters, moment_stream(), scale)
            weights, values = weighted_values(particles, 0)
            self._known[scale] = weights, values @ self.table.inverse.T
        return self._known[scale]

    @property
    def num_moment_filters(self) -> int:
        """Number of filters whose particles moments are averages of."""
        return max(_MOMENT_FILTERS, _MOMENT_DRAWS // self.num_particles)

    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        return weighted_moments(*self._shared_sample(scale))

    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        state: dict[str, Array | IntArray] = {
            "message.G": self.message.G,
            "message.h": self.message.h,
            "changes": np.array([self.changes], dtype=np.int64),
            "effective_sample_size": np.array([self.effective_sample_size]),
            **self.evidence.state(),
        }
        search = {} if self.search is None else self.search.state()
        return state | {f"search.{name}": array for name, array in search.items()}

    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        self.evidence.restore(state)
        self.message = Evidence(np.asarray(state["message.G"], float), np.asarray(state["message.h"], float))
        self.changes = int(state["changes"][0])
        self.effective_sample_size = float(state["effective_sample_size"][0])
        if self.search is not None:
            self.search.restore({k.removeprefix("search."): v for k, v in state.items() if k.startswith("search.")})
        self._known = {}


def moment_stream() -> np.random.Generator:
    """The random stream of the filters whose particles moments are averages of: always the same."""
    return np.random.default_rng(_FIXED_SEED)


def weighted_values(particles: Particles, axis: int) -> tuple[Array, Array]:
    """Weights (..., C) and values (..., C, d) of the particles of all filters, those of ``axis`` and after, as one."""
    log_weights, value = particles.log_weights, particles.value
    lead = log_weights.shape[:axis]
    weights = np.exp(log_weights).reshape(*lead, -1) / math.prod(log_weights.shape[axis:-1])
    return weights, value.reshape(*lead, -1, value.shape[-1])


def weighted_moments(weights: Array, values: Array) -> tuple[Array, Array]:
    """Mean (..., d) and a root (..., d, r) of the covariance of weighted values (..., C, d)."""
    mean = np.vecmat(weights, values)
    off = np.sqrt(weights)[..., None] * (values - mean[..., None, :])
    return mean, np.swapaxes(np.linalg.qr(off, mode="r"), -1, -2)
