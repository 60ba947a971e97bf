"""Posterior error: the distance of draws from the true posterior, against the number of observations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np

from dts_gym.diagnostics.error_problems import PLANAR
from dts_gym.diagnostics.error_records import ErrorRecord, PosteriorErrors
from dts_gym.diagnostics.error_report import error_figure, error_rows
from dts_gym.diagnostics.posterior_error import checked_settings, find_errors
from dts_gym.harness.conduct import Conduct
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.study import Ask, Findings, Study, Verdict, chosen, judge
from dts_gym.utils.arrays import Array
from dts_gym.utils.tables import csv_text, mean_interval

# An energy distance after whitening below this is treated as none: some ten times the noise floor of 500 draws, and the
# distance of a mean that is wrong by about 0.15 posterior standard deviations.
_NEAR = 0.02
_NOT_QUANTIFIED = "The deck's two approximations stand for the posterior (their error was not quantified)."
_DROPPED = "its messages replace every link by the identity, which drops the matrices of a linear chain too"


@dataclass(frozen=True)
class PosteriorErrorStudy(Study):
    """Compares draws of every method with the true posterior."""

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        quick = ask.profile == "quick"
        every = ("linear", "bernoulli") if quick else ("linear", "mlp", "bernoulli", "mlp-bernoulli", *PLANAR)
        return {
            "problems": [every[place] for place in chosen(every, ask.only)],
            "observations": [1, 10] if quick else [1, 10, 100, 1000],
            "seeds": ask.seeds or (2 if quick else 5),
            "draws": 100 if quick else 500,
        }

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        errors = find_errors(checked_settings(**self.settings(ask)), conduct.within("histories"))
        names = [field.name for field in fields(ErrorRecord)]
        numbers = csv_text(names, [astuple(record) for record in errors.records])
        verdicts = [*_nearness(errors), *_orders(errors)]

        def draw(path: str | os.PathLike[str]) -> None:
            error_figure(errors, path)

        return Findings(error_rows(errors), "", numbers, tuple(verdicts), draw, errors.states)


def _nearness(errors: PosteriorErrors) -> list[Verdict]:
    """Verdicts on whether draws are within ``_NEAR`` of the truth, over the histories."""
    asked = [("linear", "deck", "With linear links and Gaussian rewards the deck's approximation is exact.", _DROPPED)]
    asked += [("linear", "closed form", "Beyond the deck: in closed form it is exact there.", "")]
    asked += [
        (problem, "deck", _NOT_QUANTIFIED, _DROPPED) for problem in errors.settings.problems if problem != "linear"
    ]
    asked += [
        (problem, "32 particles", "Beyond the deck: 32 particles have the true posterior.", "")
        for problem in errors.settings.problems
        if problem not in ("linear", "bernoulli")
    ]
    found = []
    for problem, method, claim, cause in asked:
        for n in errors.settings.observations:
            energy = _energies(errors, problem, n, method)
            if energy is not None:
                contrast = f"{_NEAR} less the energy distance of {method}"
                found.append(judge(claim, f"{problem}, n={n}", contrast, mean_interval(_NEAR - energy), cause))
    return found


def _orders(errors: PosteriorErrors) -> list[Verdict]:
    """Verdicts on which of two methods is nearer to the truth, paired by history."""
    asked: Sequence[tuple[Sequence[str], str, str, str]] = (
        (PLANAR, "LaplaceDPS", "linearised", "Beyond the deck: linearised is nearer to the truth than LaplaceDPS."),
        (
            ("bernoulli",),
            "mle",
            "closed form",
            "Beyond the deck: evidence expanded at the MAP is nearer than at the MLE.",
        ),
    )
    found = []
    for problems, worse, better, claim in asked:
        for problem in problems:
            for n in errors.settings.observations:
                far, near = (_energies(errors, problem, n, method) for method in (worse, better))
                if far is not None and near is not None:
                    contrast = f"energy distance of {worse} less {better}'s"
                    found.append(judge(claim, f"{problem}, n={n}", contrast, mean_interval(far - near)))
    return found


def _energies(errors: PosteriorErrors, problem: str, observations: int, method: str) -> Array | None:
    """Energy distances of a method, one for each history; None if it was not run, or the truth is unreliable."""
    own = [r for r in errors.records if (r.problem, r.observations, r.method) == (problem, observations, method)]
    return np.array([record.energy for record in own]) if own and all(record.trusted for record in own) else None


STUDY = PosteriorErrorStudy(
    id="posterior-error",
    claim=CLAIMS["posterior-error"],
    description=(
        "Draws of all actions' parameters against the true posterior: dense for linear, long Markov "
        "chains under the rewards' own likelihood for perceptrons and Bernoulli rewards, a pool of 300 000 reweighted "
        "chains for priors pre-trained on the six shapes. Energy distance after whitening by the true covariance; "
        f"below {_NEAR} counts as none. Five histories a problem; the quick profile has two problems, "
        "which need no torch."
    ),
)
