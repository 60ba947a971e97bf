"""Experiments as data: their settings, their problems and how their results are read; one file for each of the paper's.

Read `study` (the definition of an experiment; `claims` has the claim that each tests, and causes of failures), `cells`
and `comparison_study` (experiments that compare agents), `outcome` (tables and verdicts; `pictures` draws them),
`findings` and `page` (the files and the report). Then any experiment: `regret`, `gap_vs_actions`, `scaling`,
`misspecification`, `swiss_roll`, `movielens`, `cost`, `posterior_error`, `bound`, `planar`, `exploration`,
`mixed_effects`; on logs (`log_study` is their template) `offpolicy`, `offpolicy_digits`; and of best-arm identification
`identification`.
"""

from __future__ import annotations

import importlib

from dts_gym.harness.conduct import Conduct
from dts_gym.studies.study import Ask, Findings, Profile, Study, Verdict

# id -> module that holds ``STUDY``, or ``STUDIES`` of several ids; loaded on demand.
_STUDIES = {
    "regret-LL": "regret",
    "regret-LN": "regret",
    "regret-NL": "regret",
    "regret-NN": "regret",
    "gap-vs-K": "gap_vs_actions",
    "scaling": "scaling",
    "misspecification": "misspecification",
    "swiss-roll": "swiss_roll",
    "movielens": "movielens",
    "cost": "cost",
    "posterior-error": "posterior_error",
    "bound": "bound",
    "posterior-2d": "planar",
    "exploration": "exploration",
    "offpolicy-synthetic": "offpolicy",
    "offpolicy-ratings": "offpolicy",
    "offpolicy-digits": "offpolicy_digits",
    "mixed-effects": "mixed_effects",
    "item-features": "mixed_effects",
    "bai-mab": "identification",
    "bai-linear": "identification",
    "bai-hierarchical": "identification",
    "bai-ratings": "identification",
}


def study_ids() -> list[str]:
    """Ids of the experiments.

    Examples
    --------
    >>> study_ids()[:2]
    ['regret-LL', 'regret-LN']
    """
    return list(_STUDIES)


def load_study(study_id: str) -> Study:
    """Load an experiment by its id; ValueError for an unknown id.

    Examples
    --------
    >>> load_study("movielens").id
    'movielens'
    """
    if study_id not in _STUDIES:
        raise ValueError(f"experiment must be one of {study_ids()}, got {study_id!r}")
    module = importlib.import_module(f"dts_gym.studies.{_STUDIES[study_id]}")
    studies: tuple[Study, ...] = getattr(module, "STUDIES", None) or (module.STUDY,)
    return next(study for study in studies if study.id == study_id)


__all__ = ["Ask", "Conduct", "Findings", "Profile", "Study", "Verdict", "load_study", "study_ids"]
