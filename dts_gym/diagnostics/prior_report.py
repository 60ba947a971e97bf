"""Compares a fitted prior with vectors that it was not fitted to: moments, energy distance, coverage, figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dts_gym.diagnostics.energy import EnergyScore, energy_score
from dts_gym.pretraining.robustness import drawn_errors, quantile_distances, quantile_tolerance
from dts_gym.priors.fitting import independent_draws
from dts_gym.priors.prior import ChainPrior, Prior, as_chain_prior
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import finite_array, integer

SHARES = (0.5, 0.9)
_MAX_ROWS = 4000  # for the energy distance, whose cost is quadratic in the rows
_DIRECTIONS = 64  # number of random directions in which coverage is measured
_MAX_PANELS, _POINTS = 3, 1000


@dataclass(frozen=True, eq=False, repr=False)
class PriorReport(Shown):
    """What `prior_report` found.

    Attributes
    ----------
    mean_error : (d,) mean of the prior minus that of the vectors, in standard deviations of the vectors.
    mean_standard_error : standard error of each of these by chance.
    std_ratio : (d,) standard deviation of the prior over that of the vectors.
    correlation_error : the largest difference of two correlations.
    energy : energy distance of draws to the vectors beside its noise floor.
    covered : for each of `SHARES`, the share of vectors inside the prior's central interval that should hold that
        share, averaged over random directions.
    quantile_error : (d,), how far the shares of the prior and of the vectors below a value are apart at most
        (Kolmogorov-Smirnov distances): the quantiles of a prior whose mean and covariance are right may be wrong.
    quantile_tolerance : which each of them exceeds by chance once in 10^4.
    num_vectors : of the report.
    """

    mean_error: Array
    mean_standard_error: float
    std_ratio: Array
    correlation_error: float
    energy: EnergyScore
    covered: tuple[float, ...]
    quantile_error: Array
    quantile_tolerance: float
    num_vectors: int

    def __str__(self) -> str:
        """The report as a few lines of text."""
        worst = int(np.abs(self.mean_error).argmax())
        covered = ", ".join(f"{c:.1%} in {share:.0%}" for c, share in zip(self.covered, SHARES, strict=True))
        return "\n".join(
            [
                f"against {self.num_vectors} vectors in {len(self.std_ratio)} dimensions",
                f"mean: off by at most {self.mean_error[worst]:+.3f} standard deviations "
                f"(chance: {self.mean_standard_error:.3f})",
                f"standard deviations: {self.std_ratio.min():.3f} to {self.std_ratio.max():.3f} of the vectors'",
                f"correlations: off by at most {self.correlation_error:.3f}",
                f"energy distance: {self.energy.distance:.5f}, noise floor {self.energy.noise_floor:.5f}, "
                f"z-score {self.energy.z_score:.1f}",
                f"coverage: {covered}",
                f"quantiles: shares below a value off by at most {self.quantile_error.max():.3f} "
                f"(chance: {self.quantile_tolerance:.3f})",
            ]
        )


def prior_report(
    prior: Prior,
    theta: Array,
    *,
    noise_cov: Array | None = None,
    num_draws: int = 20_000,
    seed: int | np.random.SeedSequence | None = 0,
) -> PriorReport:
    """Compare a prior with vectors of the distribution that it should have.

    Parameters
    ----------
    prior : the prior; its draws are independent, whatever its branch.
    theta : (N, d) vectors, N > d + 20, that the prior was not fitted to.
    noise_cov : (N, d, d) or (d, d) covariances of the vectors' errors; errors like these are added to the prior's
        draws.
    num_draws : number of draws of the prior.
    seed : seed for the draws.

    Notes
    -----
    The energy distance uses at most 4000 draws and vectors. The result is random.

    Examples
    --------
    >>> from dts_gym.priors import LinearDiffusionPrior
    >>> prior = LinearDiffusionPrior([np.eye(2)], [0.5 * np.eye(2)] * 2)
    >>> report = prior_report(prior, np.random.default_rng(0).standard_normal((500, 2)), num_draws=500)
    >>> report.energy.z_score < 4.5
    True
    """
    d = prior.dim
    vectors = finite_array("theta", theta, (None, d))
    if len(vectors) <= d + 20:
        raise ValueError(f"theta must have more than {d + 20} rows, got {len(vectors)}")
    rng = stream(seed, "report")
    draws = independent_draws(prior, rng, integer("num_draws", num_draws, d + 21))
    if noise_cov is not None:
        shape = (d, d) if np.ndim(noise_cov) == 2 else (len(vectors), d, d)
        covs = np.broadcast_to(finite_array("noise_cov", noise_cov, shape), (len(vectors), d, d))
        draws = draws + drawn_errors(covs, len(draws), rng)
    std = vectors.std(axis=0, ddof=1)
    vectors = vectors[rng.permutation(len(vectors))]
    directions = rng.standard_normal((_DIRECTIONS, d))
    drawn, seen = (draws / std) @ directions.T, (vectors / std) @ directions.T  # (n, directions)
    covered = []
    for share in SHARES:
        low, high = np.quantile(drawn, [0.5 - share / 2, 0.5 + share / 2], axis=0)
        covered.append(float(((low <= seen) & (seen <= high)).mean()))
    correlations = [np.corrcoef(x, rowvar=False).reshape(d, d) for x in (draws, vectors)]
    return PriorReport(
        mean_error=(draws.mean(axis=0) - vectors.mean(axis=0)) / std,
        mean_standard_error=float(np.sqrt(1 / len(draws) + 1 / len(vectors))),
        std_ratio=draws.std(axis=0, ddof=1) / std,
        correlation_error=float(np.abs(correlations[0] - correlations[1]).max()),
        energy=energy_score(draws[:_MAX_ROWS], vectors[:_MAX_ROWS], rng),
        covered=tuple(covered),
        quantile_error=quantile_distances(draws, vectors),
        quantile_tolerance=quantile_tolerance(len(draws), len(vectors)),
        num_vectors=len(vectors),
    )


def prior_figure(
    prior: ChainPrior,
    theta: Array,
    path: str | os.PathLike[str],
    *,
    levels: Sequence[int] | None = None,
    seed: int | np.random.SeedSequence | None = 0,
) -> None:
    """Draw a prior beside vectors, coordinate against coordinate, and its chain at several levels.

    Parameters
    ----------
    prior : the prior; its draws are independent, whatever its branch.
    theta : (N, d) vectors to compare with.
    path : file of the PNG; its folder must exist.
    levels : levels of the chain, 0..L, drawn from left to right; None: five from L to 0.
    seed : seed for the draws.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    as_chain_prior(prior)
    vectors = finite_array("theta", theta, (None, prior.dim))
    if not len(vectors):
        raise ValueError("theta must have a row at least, got none")
    asked = np.unique(np.linspace(prior.depth, 0, 5).round().astype(int))[::-1] if levels is None else levels
    shown = [integer("levels", level, 0, prior.depth) for level in asked]
    chain = prior.with_branch(prior.depth).sample_chain(stream(seed, "report"), _POINTS)
    d = prior.dim
    pairs = [(0, min(1, d - 1))] if d <= 2 else [(i, j) for i in range(d) for j in range(i + 1, d)][:_MAX_PANELS]
    columns = max(2 * len(pairs), len(shown))
    figure = Figure(figsize=(2.4 * columns, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Above: vectors and draws of the prior. Below: the chain from its top to the parameters.")
    panels = []
    for i, j in pairs:
        for name, points in (("vectors", vectors[:_POINTS]), ("prior", chain[0])):
            panels.append((0, f"{name}: {i + 1}, {j + 1}", points, i, j))
    i, j = pairs[0]
    panels += [(1, f"level {level}", chain[level], i, j) for level in shown]
    used = [0, 0]
    for row, title, points, i, j in panels:
        axes = figure.add_subplot(2, columns, row * columns + used[row] + 1)
        used[row] += 1
        axes.set_title(title, fontsize="small")
        axes.tick_params(labelsize="x-small")
        colour = "#000000" if title.startswith("vectors") else "#0072B2"
        if i == j:
            axes.hist(points[:, i], bins=40, color=colour)
        else:
            axes.plot(points[:, i], points[:, j], ".", markersize=2, color=colour, alpha=0.5)
        if row == 0 and i != j:
            both = np.vstack([vectors[:_POINTS], chain[0]])  # on one scale, so that they can be compared
            axes.set_xlim(both[:, i].min(), both[:, i].max())
            axes.set_ylim(both[:, j].min(), both[:, j].max())
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))
