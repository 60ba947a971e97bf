"""Experiments as data: what is run, on what, and what is read off it; one file a figure of the paper."""

from __future__ import annotations

import importlib

from dts_gym.experiments.study import Cell, Profile, Study

# id -> module that holds ``STUDY``; loaded when asked for.
_STUDIES = {"movielens": "movielens", "swiss-roll": "swiss_roll"}


def study_ids() -> list[str]:
    """Ids of the experiments.

    Examples
    --------
    >>> study_ids()
    ['movielens', 'swiss-roll']
    """
    return list(_STUDIES)


def load_study(study_id: str) -> Study:
    """An experiment by its id; ValueError if there is none of this name.

    Examples
    --------
    >>> load_study("movielens").reference
    'dTS'
    """
    if study_id not in _STUDIES:
        raise ValueError(f"experiment must be one of {study_ids()}, got {study_id!r}")
    study: Study = importlib.import_module(f"dts_gym.experiments.{_STUDIES[study_id]}").STUDY
    return study


__all__ = ["Cell", "Profile", "Study", "load_study", "study_ids"]
