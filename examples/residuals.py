"""Items with features that leave clusters: a denoiser of what the features leave, beside a normal distribution of it.

python examples/residuals.py [RUNS] [ROUNDS] [PAST]

PAST items are known with their parameters; what their features leave of these is one of three clusters. A denoising
diffusion model is fitted to it (extra `torch`), and each run has 40 new items.
"""

import sys

import numpy as np

import dts_gym
from dts_gym import pretraining

DIM, FEATURES, ITEMS, DEPTH = 2, 3, 40, 20
CENTERS = 1.5 * np.array([[1.0, 0.0], [-0.5, 3**0.5 / 2], [-0.5, -(3**0.5) / 2]])


def items(effects: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features of some items, and their parameters."""
    z = rng.standard_normal((count, FEATURES))
    left = CENTERS[rng.integers(len(CENTERS), size=count)] + 0.15 * rng.standard_normal((count, DIM))
    return z, z @ effects + left


def regret(agent: dts_gym.agents.Agent, theta: np.ndarray, rounds: int, seed: int) -> float:
    """Play some rounds, with the same contexts and noise for every agent."""
    rng, lost = np.random.default_rng(seed), 0.0
    for context, noise in zip(rng.uniform(-1, 1, (rounds, DIM)), rng.standard_normal(rounds), strict=True):
        action, means = agent.act(context), theta @ context
        agent.update(context, action, means[action] + noise)
        lost += means.max() - means[action]
    return lost


def main(runs: int = 20, rounds: int = 300, past: int = 2000) -> None:
    """Fit both priors to the past, and play."""
    rng = np.random.default_rng(0)
    effects = rng.standard_normal((FEATURES, DIM))
    z, theta = items(effects, past, rng)
    fitted = dts_gym.FeaturePrior.fit(theta, z)
    denoiser = pretraining.fit(fitted.residuals(theta, z), DEPTH, hidden=32, blocks=1, max_steps=2000)
    found: dict[str, list[float]] = {}
    for run in range(runs):
        z, theta = items(effects, ITEMS, np.random.default_rng(1000 + run))
        priors = {
            "normal": fitted.for_actions(z),
            "denoiser": fitted.for_actions(z, residual=denoiser),
        }
        for name, prior in priors.items():
            problem = dts_gym.BanditProblem(ITEMS, DIM, prior, dts_gym.GaussianReward(1.0))
            agent = dts_gym.make_agent("dTS", problem, seed=run)
            found.setdefault(name, []).append(regret(agent, theta, rounds, run))
        problem = dts_gym.BanditProblem(ITEMS, DIM, dts_gym.random_linear_prior(DIM, 1), dts_gym.GaussianReward(1.0))
        agent = dts_gym.make_agent("LinTS", problem, seed=run)
        found.setdefault("no features, N(0, I)", []).append(regret(agent, theta, rounds, run))
    for name, values in found.items():
        less = np.array(found["normal"]) - np.array(values)
        shown = f"{np.mean(values):8.1f} ± {np.std(values, ddof=1) / runs**0.5:.1f}"
        print(f"{name:<22}{shown}, less than normal by {less.mean():.1f} ± {less.std(ddof=1) / runs**0.5:.1f}")
    print(f"regret of {rounds} rounds, means of {runs} runs with standard errors")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
