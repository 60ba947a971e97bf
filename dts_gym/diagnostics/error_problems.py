"""Problems on which posterior draws are compared with the true posterior, and the methods that draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dts_gym.datasets.shapes import Shape
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.prior import ChainPrior
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior


@dataclass(frozen=True)
class Method:
    """An agent with settings, and its name in the table."""

    label: str
    settings: Mapping[str, Any]
    agent: str = "dTS"


CLOSED_FORM = Method("closed form", {})
ONLINE = Method("online", {"expansion": "online"})
MLE = Method("mle", {"expansion": "mle"})
DECK = Method("deck", {"approximation": "deck"})
LINEARISED = Method("linearised", {"approximation": "linearised"})  # the same draws as with one particle
PARTICLES = tuple(Method(f"{P} particles", {"approximation": "particles", "num_particles": P}) for P in (8, 32))
LAPLACE_DPS = Method("LaplaceDPS", {}, "LaplaceDPS")
METHODS = (CLOSED_FORM, ONLINE, MLE, DECK, LINEARISED, *PARTICLES, LAPLACE_DPS)


@dataclass(frozen=True)
class ErrorProblem:
    """A distribution of histories, and the methods that learn them.

    Parameters
    ----------
    name : name of the problem, a part of its random streams.
    link : kind of the chain's links: weights uniform on [-1, 1], redrawn with every history; or "denoiser", for a prior
        that is pre-trained on a shape once for all histories.
    reward : reward family; Gaussian rewards have standard deviation 1.
    methods : the agents to compare.
    num_actions, dim, depth : K, d, L.
    scale : standard deviation of the noise of every level, for links that are drawn.
    shape : shape that denoisers learn. All actions then share one parameter, with features uniform in the unit ball.
    """

    name: str
    link: Literal["linear", "mlp", "denoiser"]
    reward: str
    methods: tuple[Method, ...]
    num_actions: int = 5
    dim: int = 2
    depth: int = 2
    scale: float = 1.0
    shape: Shape | None = None

    def prior(self, seed: np.random.SeedSequence) -> ChainPrior:
        """Draw the chain of one history."""
        covariances = [self.scale**2 * np.eye(self.dim)] * (self.depth + 1)
        if self.link == "linear":
            chain = random_linear_prior(self.dim, self.depth, seed=seed)
            return LinearDiffusionPrior(chain.weights, covariances)
        if self.link == "denoiser":
            raise ValueError(f"link of {self.name!r} must be drawn, got a denoiser: see pretrained_pool")
        return DiffusionPrior(random_mlp_prior(self.dim, self.depth, seed=seed).links, covariances)


# Poisson rewards: at scale 1 the largest count in a history of 1000 is above 100 in one of ten histories, and up to
# 1500 in 200; half of that scale keeps it to about 8, and below 40.
PROBLEMS = {
    problem.name: problem
    for problem in (
        ErrorProblem("linear", "linear", "gaussian", (CLOSED_FORM, DECK, LINEARISED, PARTICLES[1])),
        ErrorProblem("mlp", "mlp", "gaussian", (DECK, LINEARISED, *PARTICLES)),
        ErrorProblem("bernoulli", "linear", "bernoulli", (CLOSED_FORM, ONLINE, MLE, DECK, PARTICLES[1])),
        ErrorProblem("poisson", "linear", "poisson", (CLOSED_FORM, ONLINE, MLE, DECK, PARTICLES[1]), scale=0.5),
        ErrorProblem("mlp-bernoulli", "mlp", "bernoulli", (DECK, LINEARISED, *PARTICLES)),
    )
}

# The six problems of Kveton et al., which need torch, and one more shape.
PLANAR: tuple[Shape, ...] = ("cross", "rays", "triangles", "swirl", "H", "corners")
PRETRAINED: dict[str, ErrorProblem] = {
    shape: ErrorProblem(
        shape, "denoiser", "gaussian", (LAPLACE_DPS, DECK, LINEARISED, *PARTICLES), depth=100, shape=shape
    )
    for shape in (*PLANAR, "swiss-roll")
}
ALL_PROBLEMS = PROBLEMS | PRETRAINED
GROUPS: dict[str, tuple[str, ...]] = {"planar": PLANAR}
