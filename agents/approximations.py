"""How an agent keeps the posterior of a chain: in closed form, by particles, or by Markov chains.

A prior of mixed effects has a closed form of its own.

Each of these ways is a small class that holds the settings it reads and makes the posterior for a problem.
`approximation_of` checks the keywords of `dts_gym.agents.ChainAgent` and packs them into one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from dts_gym.agents.inputs import checked_problem, disjoint_dtype
from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Dtype
from dts_gym.posteriors.chain.branched_levels import Pool, checked_pool
from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior, Surrogate
from dts_gym.posteriors.chain.surrogates import default_surrogate
from dts_gym.posteriors.glm.glm_posterior import posterior_under
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.interface import ConfidencePosterior
from dts_gym.posteriors.mcmc.slice_posterior import SlicePosterior
from dts_gym.posteriors.mixed_effects.glm_posterior import mixed_effect_posterior
from dts_gym.posteriors.mixed_effects.offset_posterior import OffsetPosterior
from dts_gym.posteriors.shared_parameter import posterior_for
from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import ChainPrior, as_chain_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import MOST, choice, integer

Approximation = Literal["particles", "linearised", "deck", "slice"]

DEFAULT_PARTICLES, DEFAULT_STEPS = 32, 10
# A setting that an approximation does not read must be left out; a linear chain in closed form ignores it instead, so
# that one prior can be swapped for another.
_LEFT_OUT: dict[str | None, tuple[str, ...]] = {
    "particles": ("num_steps",),
    "linearised": ("num_particles", "num_steps"),
    "deck": ("num_particles", "num_steps", "surrogate"),
    "slice": ("surrogate",),
}


@dataclass(frozen=True)
class ClosedForm:
    """The posterior of a linear chain, collapsed into two levels; exact for Gaussian rewards.

    Attributes
    ----------
    chain : the problem's prior.
    branch : levels above this one are shared by all actions.
    expansion : point at which evidence of rewards that are not Gaussian is expanded.
    dtype : precision of the matrices that choices read; it must be "float64" unless rewards are Gaussian.
    """

    chain: LinearDiffusionPrior
    branch: int
    expansion: Mode
    dtype: Dtype

    name: ClassVar[None] = None
    keeps_draws: ClassVar[bool] = False

    def posterior(
        self, problem: BanditProblem, model: RewardModel, scale: float, rng: np.random.Generator
    ) -> ConfidencePosterior:
        """The posterior before any data, under rewards of that model; neither scale nor stream is read."""
        if not isinstance(model, GaussianReward):
            _refuse_float32(self.dtype)
        return posterior_for(problem, lambda K: self._engine(K, model))

    def _engine(self, num_actions: int, model: RewardModel) -> ActionPosterior:
        two_level = self.chain.two_level(self.branch)
        return posterior_under(model, two_level, num_actions, self.expansion, self.dtype)


@dataclass(frozen=True)
class MixedEffects:
    """The posterior of the problem's `MixedEffectPrior`; exact for Gaussian rewards.

    Attributes
    ----------
    expansion : point at which evidence of rewards that are not Gaussian is expanded.
    """

    expansion: Mode = "map"

    name: ClassVar[None] = None
    branch: ClassVar[int] = 0
    keeps_draws: ClassVar[bool] = False

    def posterior(
        self, problem: BanditProblem, model: RewardModel, scale: float, rng: np.random.Generator
    ) -> ConfidencePosterior:
        """The posterior before any data, under rewards of that model; neither scale nor stream is read."""
        assert isinstance(problem.prior, MixedEffectPrior)
        return mixed_effect_posterior(problem.prior, model, self.expansion)


@dataclass(frozen=True)
class Particles:
    """A chain of any links by the twisted particle filter; "linearised" and "deck" are this filter with one particle.

    Attributes
    ----------
    name : "particles", "linearised" or "deck".
    prior : the problem's.
    branch : levels above it are shared by all actions.
    num_particles : P, of each filter.
    surrogate : affine stand-ins for the links in the messages.
    expansion : where evidence of rewards that are not Gaussian is expanded.
    pool_size, pool : draws of the prior that stand for the unplayed actions, where the branch is above 0.
    num_shared_draws : draws of the shared part that each is chosen from, where the branch is between 0 and L.
    """

    name: Approximation
    prior: ChainPrior
    branch: int
    num_particles: int
    surrogate: Surrogate
    expansion: Mode
    pool_size: int
    pool: Pool
    num_shared_draws: int

    @property
    def keeps_draws(self) -> bool:
        """Whether draws of actions' own levels are kept from one choice to the next, for one exploration scale."""
        return self.branch > 0

    def posterior(
        self, problem: BanditProblem, model: RewardModel, scale: float, rng: np.random.Generator
    ) -> ConfidencePosterior:
        """The posterior before any data, under rewards of that model; neither scale nor stream is read."""
        # A shared parameter is one chain, whatever the branch.
        if self.branch and problem.features == "disjoint":
            return self.branched(problem.num_actions, model)
        return posterior_for(problem, lambda K: self._engine(K, model))

    def branched(self, num_actions: int, model: RewardModel, offsets: Array | None = None) -> BranchedPosterior:
        """The posterior at a branch above 0, of K parameters; with offsets (K, d) that rewards see, at branch L."""
        return BranchedPosterior(
            self.prior,
            num_actions,
            model,
            branch=self.branch,
            num_particles=self.num_particles,
            surrogate=self.surrogate,
            expansion=self.expansion,
            pool_size=self.pool_size,
            pool=self.pool,
            num_shared_draws=self.num_shared_draws,
            offsets=offsets,
        )

    def _engine(self, num_actions: int, model: RewardModel) -> ActionPosterior:
        return ChainPosterior(
            self.prior,
            num_actions,
            model,
            num_particles=self.num_particles,
            surrogate=self.surrogate,
            expansion=self.expansion,
        )


@dataclass(frozen=True)
class Offsets:
    """The posterior of an `OffsetPrior`: that of its chain at branch L, moved by the offsets.

    Attributes
    ----------
    residual : how the chain's posterior is kept.
    """

    residual: ClosedForm | Particles

    @property
    def name(self) -> Approximation | None:
        """The name of the chain's approximation."""
        return self.residual.name

    @property
    def branch(self) -> int:
        """L: actions share nothing."""
        return self.residual.branch

    @property
    def keeps_draws(self) -> bool:
        """Whether the chain's posterior keeps draws."""
        return self.residual.keeps_draws

    def posterior(
        self, problem: BanditProblem, model: RewardModel, scale: float, rng: np.random.Generator
    ) -> ConfidencePosterior:
        """The posterior before any data, under rewards of that model; neither scale nor stream is read."""
        assert isinstance(problem.prior, OffsetPrior)
        offsets = problem.prior.action_means
        if isinstance(self.residual, Particles):
            return OffsetPosterior(self.residual.branched(problem.num_actions, model, offsets), offsets)
        _refuse_float32(self.residual.dtype)
        mean, shared, own = self.residual.chain.two_level(self.branch)
        effects = np.zeros((problem.num_actions, 0)), np.zeros((0, 0))  # none: normal and independent
        normal = MixedEffectPrior(*effects, shared + own, action_means=offsets + mean)
        return mixed_effect_posterior(normal, model, self.residual.expansion)


@dataclass(frozen=True)
class Slice:
    """A chain of any links by Markov chains of elliptical slice sampling, at branch 0.

    Attributes
    ----------
    prior : the problem's prior.
    num_walkers : number of Markov chains kept side by side.
    num_steps : number of slice steps after each reward and for each draw.
    expansion : point at which evidence of rewards that are not Gaussian is expanded.
    """

    prior: ChainPrior
    num_walkers: int
    num_steps: int
    expansion: Mode

    name: ClassVar[Literal["slice"]] = "slice"
    branch: ClassVar[int] = 0
    keeps_draws: ClassVar[bool] = False

    def posterior(
        self, problem: BanditProblem, model: RewardModel, scale: float, rng: np.random.Generator
    ) -> ConfidencePosterior:
        """The posterior before any data; its walkers sample at the given exploration scale, by the given stream."""
        return posterior_for(problem, lambda K: self._engine(K, model, scale, rng))

    def _engine(self, num_actions: int, model: RewardModel, scale: float, rng: np.random.Generator) -> ActionPosterior:
        return SlicePosterior(
            self.prior,
            num_actions,
            model,
            num_walkers=self.num_walkers,
            num_steps=self.num_steps,
            expansion=self.expansion,
            scale=scale,
            seed=int(rng.integers(1 << 62)),
        )


def approximation_of(
    problem: BanditProblem,
    *,
    branch: int | None,
    approximation: Approximation | None,
    num_particles: int | None,
    num_steps: int | None,
    surrogate: Surrogate | None,
    expansion: Mode,
    pool_size: int,
    pool: Pool,
    num_shared_draws: int,
    dtype: Dtype,
) -> ClosedForm | MixedEffects | Offsets | Particles | Slice:
    """Return the approximation that the keywords of `ChainAgent` ask for; ValueError for a wrong keyword."""
    if isinstance(checked_problem(problem).prior, MixedEffectPrior):
        chains_own = {"branch": branch, "approximation": approximation, "dtype": dtype}
        return _mixed_effects(problem, chains_own, choice("expansion", expansion, get_args(Mode)))
    if isinstance(problem.prior, OffsetPrior):
        _refuse_with_offsets(problem, problem.prior, branch, approximation)
        residual = approximation_of(
            replace(problem, prior=problem.prior.residual),
            branch=None,
            approximation=approximation,
            num_particles=num_particles,
            num_steps=num_steps,
            surrogate=surrogate,
            expansion=expansion,
            pool_size=pool_size,
            pool=pool,
            num_shared_draws=num_shared_draws,
            dtype=dtype,
        )
        assert isinstance(residual, ClosedForm | Particles)
        return Offsets(residual)
    prior = as_chain_prior(problem.prior)
    level = prior.branch if branch is None else integer("branch", branch, 0, prior.depth)
    choice("approximation", approximation, get_args(Approximation), or_none=True)
    choice("surrogate", surrogate, ("jacobian", "statistical"), or_none=True)
    choice("expansion", expansion, get_args(Mode))
    given = {"num_particles": num_particles, "num_steps": num_steps, "surrogate": surrogate}
    for name in _LEFT_OUT.get(approximation, ()):
        if given[name] is not None:
            raise ValueError(f"{name} must be left out with approximation {approximation!r}, got {given[name]!r}")
    P = DEFAULT_PARTICLES if num_particles is None else integer("num_particles", num_particles, 1, most=MOST)
    steps = DEFAULT_STEPS if num_steps is None else integer("num_steps", num_steps, 1, most=MOST)
    if approximation == "slice" and level != 0:
        raise ValueError(f"branch must be 0 for approximation 'slice', got {level}")
    choice("pool", pool, get_args(Pool))
    size, kind = integer("pool_size", pool_size, 1, most=MOST), checked_pool(pool, level, prior.depth)
    shared = integer("num_shared_draws", num_shared_draws, 1, most=MOST)
    precision = disjoint_dtype(problem, dtype)
    chain = as_linear(prior) if approximation is None else None
    if chain is not None:
        return ClosedForm(chain, level, expansion, precision)
    _refuse_float32(precision)
    if approximation == "slice":
        return Slice(prior, P, steps, expansion)
    stands_in: Surrogate = "deck" if approximation == "deck" else surrogate or default_surrogate(prior)
    name = approximation or "particles"
    return Particles(name, prior, level, P if name == "particles" else 1, stands_in, expansion, size, kind, shared)


def _refuse_with_offsets(problem: BanditProblem, prior: OffsetPrior, branch: Any, approximation: Any) -> None:
    if problem.features != "disjoint":
        raise ValueError(f"problem must have disjoint features with an OffsetPrior, got {problem.features!r} ones")
    if approximation == "slice":
        raise ValueError(f"approximation must not be 'slice' with an OffsetPrior, got {approximation!r}")
    if branch not in (None, prior.residual.depth):
        raise ValueError(f"branch must be {prior.residual.depth} or left out with an OffsetPrior, got {branch!r:.200}")


def _mixed_effects(problem: BanditProblem, given: dict[str, Any], expansion: Mode) -> MixedEffects:
    """The closed form of a prior of mixed effects, which ignores what a linear chain in closed form ignores too."""
    assert isinstance(problem.prior, MixedEffectPrior)
    for name, expected in (("branch", None), ("approximation", None), ("dtype", "float64")):
        if given[name] != expected:
            raise ValueError(f"{name} must be left out with a prior of mixed effects, got {given[name]!r:.200}")
    if problem.features != "disjoint":
        raise ValueError(f"problem must have disjoint features with mixed effects, got {problem.features!r} ones")
    return MixedEffects(expansion)


def _refuse_float32(dtype: Dtype) -> None:
    if dtype != "float64":
        raise ValueError(
            f"dtype must be 'float64' but for linear chains in closed form and Gaussian rewards, got {dtype!r}"
        )
