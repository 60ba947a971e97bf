"""The posterior of a chain by elliptical slice sampling: slow, without surrogates; the reference for particles."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Increment
from dts_gym.posteriors.chain.chain import Chain, as_chain
from dts_gym.posteriors.chain.leave_one_out import law_without, parameter_law
from dts_gym.posteriors.chain.surrogates import statistical_surrogates
from dts_gym.posteriors.chain.tangent_tracker import TangentSearch
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.glm.reward_evidence import RewardEvidence
from dts_gym.posteriors.mcmc.slice_sampling import QuadraticTarget, elliptical_step
from dts_gym.priors.prior import ChainPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import integer

_FIXED_SEED = 20231117
# Number of sweeps of all walkers that moments are averaged over.
_MOMENT_SWEEPS = 16


class SlicePosterior(ActionPosterior):
    """Posterior of ``theta_a ~ N(f_1(psi_1), Sigma_1)`` at branch 0, its shared levels drawn by Markov chains.

    Parameters
    ----------
    prior : a chain of any links, read at branch 0.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    model : distribution of the rewards.
    num_walkers : number of Markov chains kept side by side.
    num_steps : number of slice steps of every walker after each reward, and of a walker for each draw from it.
    expansion : where rewards that are not Gaussian are expanded, see `GLMTable`.
    scale : exploration scale at which the walkers sample.
    seed : seed for the walkers.

    Notes
    -----
    Exact in the limit of many steps for the posterior given the evidence. Walkers continue from their states before the
    last reward, whose evidence moves the posterior little. A round costs some ``5 num_steps`` evaluations of all links
    for the walkers together, and as many for a draw. Draws do not move the walkers.
    """

    def __init__(
        self,
        prior: ChainPrior,
        num_actions: int,
        model: RewardModel,
        *,
        num_walkers: int = 32,
        num_steps: int = 10,
        expansion: Mode = "map",
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        d = prior.dim
        super().__init__(np.zeros(d), prior.covariances[0], num_actions)
        self.num_walkers = integer("num_walkers", num_walkers, 1)
        self.num_steps = integer("num_steps", num_steps, 1)
        self._scale = scale
        self._chain = as_chain(prior)
        self._evidence = RewardEvidence(model, prior.dim, expansion)
        statistical = statistical_surrogates(self._chain, np.random.default_rng(_FIXED_SEED))
        self._search = TangentSearch(self._chain, statistical, (_FIXED_SEED,))  # for the expansions' points only
        self._message = Evidence(np.zeros((d, d)), np.zeros(d))  # on f_1(psi_1), in the parameters' coordinates
        self._changes = 0
        size = self._target(1.0).num_innovations
        self._seed = integer("seed", seed, 0)
        self._walkers = self._rng().standard_normal((self.num_walkers, size))

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward, and let the walkers follow."""
        new = action not in self.table.slots
        self._evidence.observe(self.table, context, action, reward, lambda: self._without(action))
        if new:
            self.unplayed.remove(action)
        self._changes += 1
        self._message = self.table.to_parameters(self.table.total())
        if self._evidence.renew(self.table, self._mean_of_shared, self._without, self._changes) is not None:
            self._message = self.table.to_parameters(self.table.total())
        if self._evidence.expands:
            self._search.search(self._message, self._changes)
        self._walkers, _ = self._walked(self._walkers, self._scale, self._rng())

    def _noise_variance(self, predictor: float) -> float:
        return self._evidence.model.observed_variance(predictor)

    def _absorb(self, increment: Increment) -> None:
        more = self.table.to_parameters(increment.evidence())
        self._message = Evidence(self._message.G + more.G, self._message.h + more.h)

    def _rng(self) -> np.random.Generator:
        """The generator of the walkers' steps after a change."""
        return np.random.default_rng([self._seed, self._changes])

    def _without(self, action: int) -> tuple[Array, Array]:
        """Moments of an action's parameters given the other actions' data, by tangents."""
        return law_without(self._chain, self._search.maps, self.table, self._message, action)

    def _mean_of_shared(self) -> Array:
        """Mean of the shared part given all data, by tangents; in the table's coordinates."""
        return np.asarray(self.table.inverse @ parameter_law(self._chain, self._search.maps, 1, self._message)[0])

    def _target(self, scale: float) -> QuadraticTarget:
        """The tempered model's likelihood of the innovations."""
        chain: Chain = self._chain._replace(roots=tuple(scale * root for root in self._chain.roots))
        return QuadraticTarget(chain, Evidence(*(part / scale**2 for part in self._message)), 0, None)

    def _walked(self, walkers: Array, scale: float, rng: np.random.Generator) -> tuple[Array, Array]:
        """Walkers after their steps, (n, innovations), and their ``f_1(psi_1)``, (n, d)."""
        target = self._target(scale)
        value, density = target(walkers)
        for _ in range(self.num_steps):
            walkers, value, density = elliptical_step(target, walkers, value, density, rng)
        return walkers, value

    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        chosen = self._walkers[rng.integers(self.num_walkers, size=math.prod(lead))]
        values = self._walked(chosen, scale, rng)[1]
        return np.asarray((values @ self.table.inverse.T).reshape(*lead, len(self.center)))

    def _shared_sample(self, scale: float) -> tuple[Array, Array]:
        rng, walkers = np.random.default_rng(_FIXED_SEED), self._walkers
        sweeps = []
        for _ in range(_MOMENT_SWEEPS):
            walkers, values = self._walked(walkers, scale, rng)
            sweeps.append(values @ self.table.inverse.T)
        values = np.concatenate(sweeps)
        return np.full(len(values), 1.0 / len(values)), values

    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        values = self._shared_sample(scale)[1]
        mean = values.mean(axis=0)
        return mean, (values - mean).T / math.sqrt(len(values))

    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        state: dict[str, Array | IntArray] = {
            "message.G": self._message.G,
            "message.h": self._message.h,
            "changes": np.array([self._changes, self._seed], dtype=np.int64),
            "walkers": self._walkers.copy(),
            **self._evidence.state(),
        }
        return state | {f"search.{name}": array for name, array in self._search.state().items()}

    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        self._evidence.restore(state)
        self._message = Evidence(np.asarray(state["message.G"], float), np.asarray(state["message.h"], float))
        self._changes, self._seed = (int(n) for n in state["changes"])
        self._walkers = np.array(state["walkers"], float)
        self._search.restore({k.removeprefix("search."): v for k, v in state.items() if k.startswith("search.")})
