"""An experiment of the paper: its claim, its execution, its results."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from dts_gym.harness.conduct import Conduct
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import MARK, Style, layout, marked
from dts_gym.utils.validation import choice, integer

FORMAT = 1  # of study.json
Profile = Literal["quick", "paper"]
Answer = Literal["holds", "does not hold", "undecided", "not judged"]


class Verdict(NamedTuple):
    """The verdict of a measurement on a claim, in one setting.

    Attributes
    ----------
    claim : the claim as the paper's slides (the "deck") state it.
    where : the setting.
    contrast : what ``value`` is; above 0 it speaks for the claim.
    value, low, high : with the ends of its 95 % confidence interval, NaN where there is none.
    answer : "holds" if the interval is above 0, "does not hold" if below, else "undecided"; "not judged" of a profile
        other than "paper", whose few rounds and seeds are not those that the claim is about.
    cause : why it does not hold, where that was found.
    note : what restricts it: tuned agents whose exploration scale is the best at an end of those tried.
    """

    claim: str
    where: str
    contrast: str
    value: float
    low: float
    high: float
    answer: Answer
    cause: str = ""
    note: str = ""


def judge(
    claim: str, where: str, contrast: str, interval: tuple[float, float, float], cause: str = "", note: str = ""
) -> Verdict:
    """The verdict on a claim from a value between the ends of its confidence interval; a cause only where it fails.

    Examples
    --------
    >>> judge("A beats B", "K=10", "regret of B less A's", (0.5, 2.0, 3.5)).answer
    'holds'
    """
    low, value, high = interval
    answer: Answer = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
    return Verdict(claim, where, contrast, value, low, high, answer, cause if answer == "does not hold" else "", note)


def as_judged(verdicts: Sequence[Verdict], profile: str) -> tuple[Verdict, ...]:
    """The verdicts of a run, without an answer where its profile is too small to judge claims: any but "paper".

    Examples
    --------
    >>> verdict = judge("A beats B", "K=10", "regret of B less A's", (-3.5, -2.0, -0.5))
    >>> [as_judged([verdict], profile)[0].answer for profile in ("paper", "quick")]
    ['does not hold', 'not judged']
    """
    if profile == "paper":
        return tuple(verdicts)
    return tuple(verdict._replace(answer="not judged", cause="") for verdict in verdicts)


@dataclass(frozen=True, repr=False)
class Findings(ShownTable):
    """What an experiment found.

    Parameters
    ----------
    rows : rows of its table, the first one the header.
    notes : text below the table.
    numbers : all numbers with all digits, as CSV.
    verdicts : verdicts on its claims.
    draw : function that writes the figure, a PNG, to a path whose folder exists.
    states : the different states of the code that made the results, see `dts_gym.harness.code_state.code_state`; none
        where all were made now.
    """

    rows: Sequence[Sequence[str]]
    notes: str
    numbers: str
    verdicts: tuple[Verdict, ...]
    draw: Callable[[str | os.PathLike[str]], None]
    states: Sequence[Mapping[str, Any]] = ()

    def table(self, style: Style = "text") -> str:
        """The table, and the notes below it."""
        return layout(self.rows, style, left=2) + (f"\n{self.notes}\n" if self.notes else "")

    def _repr_table(self) -> Display:
        return Display(f"{len(self.verdicts)} verdicts", self.rows, left=2)


@dataclass(frozen=True)
class Ask:
    """Which part of an experiment is run.

    Parameters
    ----------
    profile : "quick", small, for a first look and for tests; or "paper", the setting that is reported.
    data : a data set, for an experiment that accepts one; None: the environment's default.
    seeds : number of runs, in place of the profile's; None: the profile's.
    only : name of the part to run; if no part has this name, all parts whose names contain it. Several between commas.
    """

    profile: Profile = "quick"
    data: str | None = None
    seeds: int | None = None
    only: str = ""

    def __post_init__(self) -> None:
        choice("profile", self.profile, get_args(Profile))
        if self.seeds is not None:
            integer("seeds", self.seeds, 1)


@dataclass(frozen=True)
class Study(ABC):
    """An experiment of the paper.

    Parameters
    ----------
    id : its name.
    claim : as the deck makes it.
    description : what the profile "paper" runs, with what the deck leaves open.
    """

    id: str
    claim: str
    description: str

    @property
    def takes_data(self) -> bool:
        """Whether a data set can be named."""
        return False

    @abstractmethod
    def settings(self, ask: Ask) -> Mapping[str, Any]:
        """The settings of the experiment, as plain data."""

    @abstractmethod
    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        """Run the experiment for `run`."""

    def run(self, ask: Ask | None = None, conduct: Conduct | None = None) -> Findings:
        """Run the part of the experiment that ``conduct.out`` does not hold yet.

        Raises
        ------
        ValueError
            If data are named for an experiment without data, or ``only`` matches no part.
        """
        asked = Ask() if ask is None else ask
        if asked.data is not None and not self.takes_data:
            raise ValueError(f"data must be left out of {self.id}, which has no data set, got {asked.data!r}")
        findings = self._run(asked, Conduct() if conduct is None else conduct)
        return replace(findings, verdicts=as_judged(findings.verdicts, asked.profile))


def chosen(names: Sequence[str], only: str) -> list[int]:
    """Indices of the names that contain a text, or of the name that equals it; commas separate several texts.

    Raises
    ------
    ValueError
        If no name contains one of the texts.

    Examples
    --------
    >>> chosen(["a-1", "a-10", "b-1"], "a-1"), chosen(["a-1", "a-10", "b-1"], "a"), chosen(["a-1", "a-10"], "a-10,a-1")
    ([0], [0, 1], [0, 1])
    """
    every: set[int] = set()
    for text in only.split(","):
        found = [place for place, name in enumerate(names) if name == text]
        found = found or [place for place, name in enumerate(names) if text in name]
        if not found:
            raise ValueError(f"only must be part of one of {list(names)}, got {text!r}")
        every.update(found)
    return sorted(every)


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Rows of a table of verdicts, the first one the header; those with a note are marked."""
    rows = [["verdict", "where", "contrast", "value (95 % interval)"]]
    for verdict in verdicts:
        ends = "" if math.isnan(verdict.low) else f" ({verdict.low:.4g}, {verdict.high:.4g})"
        rows.append(
            [verdict.answer, marked(verdict.where, verdict.note), verdict.contrast, f"{verdict.value:.4g}{ends}"]
        )
    return rows


def verdict_notes(verdicts: Sequence[Verdict]) -> list[str]:
    """The meanings of the marks in a table of verdicts, a line each."""
    return [f"{MARK} {note}" for note in dict.fromkeys(verdict.note for verdict in verdicts) if note]
