r"""Priors learned from data: a denoising diffusion model of parameter vectors (needs torch, the extra ``torch``).

The vectors are whitened, ``theta = m + R z_0`` with ``z_0`` of mean zero and unit covariance, and a small residual
perceptron learns the velocity of the forward process (`dts_gym.priors.denoisers`) at L noise levels. Its output starts
at zero, which is the best Gaussian model of the data; the held-out loss decides how far it may move away from that.

Vectors may be noisy. Where each comes with the covariance of its error, the model is trained by Monte Carlo EM on the
likelihood of the observed vectors: clean vectors are drawn from their posterior under the model, given the observed
ones, the model is trained on these draws, and so on. The start is the observed vectors, shrunk until they have the mean
and covariance of the clean ones (`dts_gym.pretraining.noisy_vectors`), so the moments are right from the first round;
the rounds sharpen the shape, slowly where errors are as wide as its features. Posteriors are drawn by the package's own
particle filter.

Source: for EM, Rozet et al., "Learning diffusion priors from observations by expectation maximization" (2024).
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dts_gym.posteriors.chain.chain import as_chain
from dts_gym.posteriors.chain.parameter_draws import sample_thetas
from dts_gym.posteriors.chain.particles import default_defensive
from dts_gym.posteriors.chain.surrogates import statistical_surrogates
from dts_gym.posteriors.evidence import Evidence
from dts_gym.pretraining.branch_choice import choose_branch, labelled, random_subsets
from dts_gym.pretraining.fit_settings import FitSettings, Variance, fit_settings
from dts_gym.pretraining.noisy_vectors import clean_moments, matched_shrinkage
from dts_gym.pretraining.past_vectors import PastVectors, past_vectors
from dts_gym.pretraining.robustness import drawn_errors, quantile_warning
from dts_gym.pretraining.trainer import Trainer, torch_on
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.outliers import outlier_warning, outliers
from dts_gym.priors.reverse_process import Schedule, reverse_chain
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.seeding import stream

_RESIDUAL_ROWS = 20_000  # noisy vectors a level, from which covariances are taken
_CALIBRATION_DRAWS, _CHUNK, _CHECKED_DRAWS = 50_000, 2000, 10_000
_EM_PARTICLES, _EM_ROWS = 8, 1 << 12
_LEAST_NOISE = 1e-6  # least variance of an error, in units of the clean vectors'; smaller ones are raised to it


def fit(
    theta: Array,
    depth: int = 40,
    *,
    noise_cov: Array | None = None,
    branch: int | Literal["auto"] | None = None,
    catalogues: Array | None = None,
    schedule: Schedule = "cosine",
    variance: Variance = "matched",
    hidden: int = 64,
    blocks: int = 2,
    max_steps: int = 6000,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    held_out: float = 0.1,
    noise_rounds: int = 4,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> DiffusionPrior:
    """Learn a diffusion prior from parameter vectors.

    Parameters
    ----------
    theta : (N, d) parameter vectors of past items, N > d + 1.
    depth : L >= 1, the number of reverse steps.
    noise_cov : (N, d, d) or (d, d) covariance of each vector's error; None: the vectors are exact.
    branch : levels above this one are shared by all actions, 0..L; None: L, because the items are independent draws;
        "auto": the branch under which held-out vectors are most probable, see `dts_gym.choose_branch`.
    catalogues : (N,) labels, with branch "auto": vectors that are the actions of one bandit have the same label, and
        catalogues are then held out whole. None: five random subsets of the held-out vectors.
    schedule : how the noise grows over the steps, see `dts_gym.priors.reverse_process.noise_schedule`.
    variance : covariance of the steps: "matched" includes the uncertainty that the denoiser leaves
        (`dts_gym.priors.reverse_process`); "posterior" is ``beta~_l`` alone, and ``Sigma_1`` is then zero.
    hidden, blocks : width and number of residual blocks of the network.
    max_steps, batch_size, learning_rate : largest number of steps, batch size and initial learning rate of Adam; the
        rate falls to zero by half a cosine.
    held_out : share of the vectors, in (0, 0.5], whose loss decides when to stop; they are not trained on.
    noise_rounds : number of EM rounds, where vectors have errors.
    seed : seed for all random draws.
    device : PyTorch device to train on: "cpu", "cuda", ...
    progress : whether to show a bar on stderr.

    Returns
    -------
    DiffusionPrior
        A chain of `dts_gym.priors.denoisers.DenoiserLink`, which needs no torch. Where training does not lower the
        held-out loss below that of the Gaussian model, the network's output stays zero and the chain is linear, so
        agents use its closed form.

    Raises
    ------
    ValueError
        If vectors are not finite, above 1e50 in size, too few, constant in a coordinate or confined to a hyperplane
        (drop the coordinate, or rotate and drop), or an argument is out of its range.
    ImportError
        If torch is not installed.

    Warns
    -----
    UserWarning
        If some vectors, a twentieth at most, lie farther than 8 standard deviations of the others from them: the prior
        is learned without these. If the prior's quantiles are not those of the vectors, as where training was too
        short: mean and covariance agree even then, for the units are made so.

    Notes
    -----
    The held-out vectors are also used for the levels' covariances, and for the mean and covariance of all vectors: this
    biases branch "auto" slightly towards independent actions. Equal rows go to the same side of the split, so
    duplicates count by their number and do not fake an improvement. Training is deterministic on one machine and
    device: on the CPU it uses one thread, whatever the number of cores. Weights are averaged over the last thousand or
    so steps. Training needs about ``max_steps`` times a few milliseconds; errors multiply that by three or four.

    Examples
    --------
    >>> theta = np.random.default_rng(0).standard_normal((200, 2))
    >>> prior = fit(theta, depth=3, max_steps=20)  # doctest: +SKIP
    >>> prior.sample(np.random.default_rng(1), 5).shape  # doctest: +SKIP
    (5, 2)
    """
    auto = branch == "auto"
    settings = fit_settings(
        depth,
        branch=branch,
        schedule=schedule,
        variance=variance,
        hidden=hidden,
        blocks=blocks,
        max_steps=max_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=held_out,
        noise_rounds=noise_rounds,
        device=device,
        progress=progress,
    )
    if catalogues is not None and not auto:
        raise ValueError(f"catalogues must be left out unless branch is 'auto', got branch {branch!r}")
    torch_on(device)
    return _learned(past_vectors(theta, noise_cov, catalogues, auto), settings, seed)


def _learned(past: PastVectors, settings: FitSettings, seed: int) -> DiffusionPrior:
    """The prior of checked vectors."""
    past = _without_outliers(past)
    mean, cov = clean_moments(past.theta, past.errors)
    scale = factor(cov)
    rng = stream(seed, "pretraining")
    inner = _split(past.theta if past.labels is None else past.labels, settings.held_out, rng)
    parts: list[Array] = []
    if settings.branch is None:  # before the training, because it may raise an error
        parts = _held_out_catalogues(past.theta[~inner], None if past.labels is None else past.labels[~inner], seed)
    trainer = Trainer(settings.training, len(scale), int(rng.integers(1 << 62)))
    z = _solved(scale, past.theta - mean)
    noise = None
    if past.errors is not None:
        noise = _floored(_solved(scale, np.swapaxes(_solved(scale, past.errors), -1, -2)))
    clean = _trained(trainer, z, noise, inner, settings, rng)
    network, alpha_bars = trainer.network(), settings.training.alpha_bars
    unknown = _unknown(network, alpha_bars, clean, rng) if settings.variance == "matched" else None
    if unknown is not None:
        # Denoisers have errors, and lost variance adds up over the steps: the units correct it, by some 2 % of a scale.
        drawn_mean, drawn_cov = _moments(_chain(network, alpha_bars, unknown), rng)
        chol = np.asarray(np.linalg.cholesky(drawn_cov), dtype=np.float64)
        scale = _solved(chol.T, scale)  # scale chol^-1
        mean = mean - scale @ drawn_mean
    links, covariances = reverse_chain(network, alpha_bars, unknown, scale=scale, offset=mean)
    prior = DiffusionPrior(links, covariances, len(links))
    _warn_of_quantiles(prior, past, stream(seed, "report"))
    if settings.branch is not None:
        return prior.with_branch(settings.branch)
    return prior.with_branch(choose_branch(prior, parts, seed=seed).branch)


def _without_outliers(past: PastVectors) -> PastVectors:
    """The vectors without those that lie far from all others, with a warning that says how many they are."""
    out = outliers(past.theta)
    if not out.any():
        return past
    warnings.warn(outlier_warning("theta", out), stacklevel=4)
    errors = past.errors if past.errors is None or past.errors.ndim == 2 else past.errors[~out]
    return PastVectors(past.theta[~out], errors, None if past.labels is None else past.labels[~out])


def _warn_of_quantiles(prior: DiffusionPrior, past: PastVectors, rng: np.random.Generator) -> None:
    """A warning where draws, given the vectors' errors, have other quantiles than the vectors."""
    draws = prior.sample(rng, _CHECKED_DRAWS)
    if past.errors is not None:
        draws = draws + drawn_errors(past.errors, len(draws), rng)
    text = quantile_warning(draws, past.theta)
    if text is not None:
        warnings.warn(text, stacklevel=4)


def _trained(
    trainer: Trainer,
    z: Array,
    noise_cov: Array | None,
    inner: NDArray[np.bool_],
    settings: FitSettings,
    rng: np.random.Generator,
) -> Array:
    """Train on whitened vectors (N, d), by EM where they have errors; returns the estimate of the clean ones."""
    clean, steps, rounds = z, settings.max_steps, settings.noise_rounds
    alpha_bars = settings.training.alpha_bars
    if noise_cov is not None:
        clean = matched_shrinkage(z, noise_cov)
        for i in range(rounds):
            trainer.train(clean[inner], clean[~inner], steps // 2, f"pre-training, round {i + 1} of {rounds}")
            network = trainer.network()
            model = _chain(network, alpha_bars, _unknown(network, alpha_bars, clean, rng))
            clean = _posterior_draws(model, z, noise_cov, rng)
    trainer.train(clean[inner], clean[~inner], steps, "pre-training")
    return clean


def _chain(network: DenoiserNetwork, alpha_bars: Array, unknown: Array | None) -> DiffusionPrior:
    """Learn the prior from whitened vectors."""
    return DiffusionPrior(*reverse_chain(network, alpha_bars, unknown), len(alpha_bars))


def _moments(prior: DiffusionPrior, rng: np.random.Generator) -> tuple[Array, Array]:
    """Mean and covariance of a prior's draws."""
    draws = np.concatenate([prior.sample(rng, _CHUNK) for _ in range(_CALIBRATION_DRAWS // _CHUNK)])
    return draws.mean(axis=0), np.atleast_2d(np.cov(draws, rowvar=False))


def _solved(scale: Array, rows: Array) -> Array:
    """``scale^-1 row`` of each row, (..., n, d)."""
    return np.asarray(np.swapaxes(np.linalg.solve(scale, np.swapaxes(rows, -1, -2)), -1, -2))


def _unknown(network: DenoiserNetwork, alpha_bars: Array, z: Array, rng: np.random.Generator) -> Array:
    """``E Cov(z_0 | z_l)``, (L, d, d): second moments of the denoiser's errors."""
    links, _ = reverse_chain(network, alpha_bars)
    rows = z[rng.permutation(len(z))][:_RESIDUAL_ROWS]
    rows = np.tile(rows, (-(-_RESIDUAL_ROWS // len(rows)), 1))
    moments = []
    for link in links:
        noise = rng.standard_normal(rows.shape)
        signal, sigma = np.sqrt(link.alpha_bar), np.sqrt(1.0 - link.alpha_bar)
        error = link.velocity(signal * rows + sigma * noise) - (signal * noise - sigma * rows)
        moments.append(sigma**2 * error.T @ error / len(rows))
    return np.array(moments)


def _posterior_draws(prior: DiffusionPrior, z: Array, noise_cov: Array, rng: np.random.Generator) -> Array:
    """Draw every clean vector once given the observed one, (N, d)."""
    chain = as_chain(prior)
    surrogates = statistical_surrogates(prior, rng)
    found = []
    share = default_defensive(chain, "statistical")
    for start in range(0, len(z), _EM_ROWS):
        part = z[start : start + _EM_ROWS]
        noise = noise_cov if noise_cov.ndim == 2 else noise_cov[start : start + _EM_ROWS]
        G: Array = np.linalg.inv(noise).astype(np.float64)
        G = np.broadcast_to((G + np.swapaxes(G, -1, -2)) / 2, (len(part), *G.shape[-2:]))
        evidence = Evidence(G, (G @ part[..., None])[..., 0])
        drawn, _ = sample_thetas(chain, surrogates, evidence, prior.depth, _EM_PARTICLES, rng, defensive=share)
        found.append(drawn[0])
    return np.concatenate(found)


def _held_out_catalogues(theta: Array, labels: NDArray[Any] | None, seed: int) -> list[Array]:
    """Return catalogues of the held-out vectors, to choose a branch; else raise ValueError."""
    if labels is not None:
        return labelled(theta, labels)
    if len(theta) < 4:
        raise ValueError(f"theta must leave 4 held-out vectors for branch 'auto', got {len(theta)}: more, or a branch")
    return random_subsets(theta, seed)


def _split(rows: NDArray[Any], held_out: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Whether each row is trained on; equal rows, or those of one label, go together."""
    _, group = np.unique(rows, axis=0, return_inverse=True)
    order: IntArray = rng.permutation(int(group.max()) + 1)
    count = min(max(1, round(held_out * len(order))), len(order) - 1)
    return ~np.isin(group.reshape(-1), order[:count])


def _floored(noise_cov: Array) -> Array:
    values, vectors = np.linalg.eigh(noise_cov)
    return np.asarray((vectors * values.clip(_LEAST_NOISE)[..., None, :]) @ np.swapaxes(vectors, -1, -2))
