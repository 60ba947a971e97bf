"""Results of a study of posterior errors, and their folder: settings, and a table of complete histories."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from dts_gym.diagnostics.error_problems import ALL_PROBLEMS
from dts_gym.harness.code_state import UNKNOWN, code_state, distinct
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.provenance import differences, versions
from dts_gym.harness.records import is_held, write_json
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.shown import Shown
from dts_gym.utils.text_files import parse_json

CONTROL = "truth"


@dataclass(frozen=True)
class ErrorSettings:
    """Settings of a study.

    Parameters
    ----------
    problems : names in `ALL_PROBLEMS`.
    observations : numbers of observations, ascending.
    seeds : seeds of the histories, one history each for every problem.
    draws : number of draws of a method's posterior; the truth has twice as many.
    """

    problems: tuple[str, ...]
    observations: tuple[int, ...]
    seeds: tuple[int, ...]
    draws: int


@dataclass(frozen=True)
class ErrorRecord:
    """Draws of one method after one number of observations of one history.

    Attributes
    ----------
    method : a label, or "truth": other draws of the true posterior, as many as a method's, which show the effect of
        chance on the numbers.
    mean_error : norm of the difference of means, in standard deviations of the true posterior (whitened by its
        covariance), over the root of the dimension K d.
    covariance_error : Frobenius norm of the whitened covariance less the identity, over the root of the dimension.
    energy, noise_floor, z_score : the values of `dts_gym.diagnostics.energy.energy_score`.
    sampler : source of the truth: "dense" (independent draws of the dense posterior), "chains" (Markov chains) or
        "pool" (many draws of the prior, reweighted).
    r_hat : the largest R-hat of the truth's Markov chains, else 1.
    effective_draws : the effective sample size of the truth's pool, else infinite.
    trusted : whether the draws of the truth are reliable.
    """

    problem: str
    observations: int
    method: str
    seed: int
    mean_error: float
    covariance_error: float
    energy: float
    noise_floor: float
    z_score: float
    sampler: str
    r_hat: float
    effective_draws: float
    trusted: bool


@dataclass(frozen=True, repr=False)
class PosteriorErrors(Shown):
    """Results of `posterior_error`: records by problem, number of observations, method and seed.

    ``states`` are the states of the code that made them, see `dts_gym.harness.code_state.code_state`; none where all
    were made now.
    """

    settings: ErrorSettings
    records: tuple[ErrorRecord, ...]
    states: tuple[Mapping[str, Any], ...] = ()

    def _repr_facts(self) -> dict[str, Any]:
        return {"settings": self.settings, "records": len(self.records)}


def write_records(path: str | os.PathLike[str], records: Sequence[ErrorRecord]) -> None:
    """Write records as CSV, all digits."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([field.name for field in fields(ErrorRecord)])
    rows.writerows(astuple(record) for record in records)
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def made_folder(conduct: Conduct, settings: ErrorSettings) -> Path | None:
    """Make the folder with the settings in it; ValueError where it holds other files."""
    path = conduct.out
    if path is None:
        return None
    content = {
        "settings": asdict(settings),
        "problems": [asdict(ALL_PROBLEMS[name]) for name in settings.problems],
        "versions": versions(),
        "states": [],
    }
    if is_held(path, resume=conduct.resume):
        try:
            saved = parse_json((path / "settings.json").read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(f"out must hold settings.json to be resumed, got {os.fspath(path)!r}: {error}") from error
        if isinstance(saved, dict):  # folders of before name no state
            saved.setdefault("states", [UNKNOWN])
            content["states"] = saved["states"]
        asked = json.loads(json.dumps(content))
        held = saved.get("settings") if isinstance(saved, dict) else None
        if isinstance(held, dict) and isinstance(held.get("seeds"), list):
            more = asked["settings"]["seeds"]
            if all(seed in more for seed in held["seeds"]):
                held["seeds"] = more
        for name, old, new in differences(saved, asked):
            raise ValueError(
                f"out must hold the same settings to be resumed, with all its seeds or more, got {name} = {old!r}, "
                f"asked for {new!r}"
            )
    write_json(path / "settings.json", content)
    return path


def states_of(folder: Path, *, now: bool = False) -> tuple[Mapping[str, Any], ...]:
    """The states of the code that made a folder's records; with ``now`` the present one is added to the file."""
    path = folder / "settings.json"
    content = json.loads(path.read_bytes())
    if now:
        content["states"] = distinct([*content["states"], code_state()])
        write_json(path, content)
    return tuple(content["states"])


def whole_histories(folder: Path, settings: ErrorSettings) -> list[ErrorRecord]:
    """Read the records of a folder whose histories are complete."""
    path = folder / "errors.csv"
    if not path.exists():
        return []
    kinds = get_type_hints(ErrorRecord)
    read: dict[type, Callable[[str], Any]] = {int: int, float: float, str: str, bool: lambda text: text == "True"}
    with path.open(newline="") as file:
        found = [ErrorRecord(**{k: read[kinds[k]](v) for k, v in row.items()}) for row in csv.DictReader(file)]
    counts = Counter((record.problem, record.seed) for record in found)

    def is_whole(record: ErrorRecord) -> bool:
        methods = len(ALL_PROBLEMS[record.problem].methods) + 1  # one more for the control
        return counts[record.problem, record.seed] == methods * len(settings.observations)

    return [record for record in found if is_whole(record)]
