"""The keywords of `dts_gym.pretraining.fit`, checked and packed once."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

from dts_gym.pretraining.trainer import TrainingSettings
from dts_gym.priors.reverse_process import Schedule, noise_schedule
from dts_gym.utils.validation import DEEPEST, choice, integer, positive

Variance = Literal["matched", "posterior"]


class FitSettings(NamedTuple):
    """Settings for learning a prior; the vectors are not part of them.

    Attributes
    ----------
    training : the network, its noise levels and its optimiser.
    max_steps : largest number of training steps.
    noise_rounds : number of EM rounds, where vectors have errors.
    held_out : share of the vectors whose loss decides when to stop.
    variance : covariance of the reverse steps, see `dts_gym.pretraining.fit`.
    branch : the prior's branch; None: chosen by held-out catalogues.
    """

    training: TrainingSettings
    max_steps: int
    noise_rounds: int
    held_out: float
    variance: Variance
    branch: int | None


def fit_settings(
    depth: int,
    *,
    branch: int | Literal["auto"] | None,
    schedule: Schedule,
    variance: Variance,
    hidden: int,
    blocks: int,
    max_steps: int,
    batch_size: int,
    learning_rate: float,
    held_out: float,
    noise_rounds: int,
    device: str,
    progress: bool,
) -> FitSettings:
    """Pack the keywords of `dts_gym.pretraining.fit`; ValueError for one that is out of its range."""
    L = integer("depth", depth, 1, most=DEEPEST)
    training = TrainingSettings(
        noise_schedule(L, schedule),
        integer("hidden", hidden, 1),
        integer("blocks", blocks, 0),
        integer("batch_size", batch_size, 1),
        _number("learning_rate", learning_rate, math.inf),
        device,
        progress,
    )
    steps, rounds = integer("max_steps", max_steps, 0), integer("noise_rounds", noise_rounds, 0)
    share = _number("held_out", held_out, 0.5)
    own_branch = (
        None
        if isinstance(branch, str) and branch == "auto"
        else L
        if branch is None
        else integer("branch", branch, 0, L)
    )
    choice("variance", variance, get_args(Variance))
    return FitSettings(training, steps, rounds, share, variance, own_branch)


def _number(name: str, value: Any, high: float) -> float:
    if positive(name, value) > high:
        raise ValueError(f"{name} must be a number above 0 and at most {high}, got {value!r}")
    return positive(name, value)
