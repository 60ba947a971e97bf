"""Records of an experiment: its settings, and one file for each finished run, so that a killed experiment loses little.

A folder holds ``experiment.json`` (settings, versions) and ``runs/LABEL-seed-S.npz``, one a run. A run's file keeps
the regret curve, not actions and rewards: tables and figures need neither, they would be most
of the bytes, and the seeds in the file reproduce them exactly. It also names the commit of the code that made it, and
has a digest of its content. These files are the same byte for byte whenever and wherever the experiment is run, by the
same commit and versions on the same kind of processor. The parts that differ are kept apart, in ``log/``: the command
lines and the times of each run.

Files of format 2, which name no commit and have no digest, are read as they are.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from dts_gym.harness.code_state import UNKNOWN
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, Role, kept_rounds
from dts_gym.harness.provenance import describe, differences, sources, versions
from dts_gym.harness.run_record import RunRecord
from dts_gym.utils.archives import read_archive, remove_parts, write_archive, write_atomically
from dts_gym.utils.locks import LOCK
from dts_gym.utils.text_files import parse_json
from dts_gym.utils.validation import finite_array, integer, number

_FORMAT = 3
_UNSEALED = (2,)  # formats without digests, which are read still
EXPERIMENT_FILE = "experiment.json"
_RUNS = "runs"
_LOG = "log"
_COMMANDS = "commands.txt"
TUNING = "tuning"


def identity(experiment: Experiment, spec: AgentSpec, seed: int) -> dict[str, Any]:
    """Everything that determines one run's result, as JSON data."""
    return {
        "env_id": experiment.env_id,
        "env_settings": describe("env_settings", experiment.env_settings),
        "agent": {"id": spec.id, "settings": describe("settings", spec.settings)},
        "seed": seed,
        "num_rounds": experiment.num_rounds,
        "role": experiment.role,
        "redraw_prior": experiment.redraw_prior,
        **({"auto_once": True} if experiment.auto_once else {}),
    }


def prepare_folder(out: Path, experiment: Experiment, *, resume: bool) -> None:
    """Prepare ``out`` for an experiment's records; a resumed experiment may have other seeds and agents.

    Raises
    ------
    ValueError
        If ``out`` holds files and ``resume`` is off, or holds an experiment with other settings.
    """
    if is_held(out, resume=resume):
        _take_up(out, experiment)
    else:
        write_experiment(out, experiment)  # written first: a folder without this file belongs to something else
    for folder in (out, out / _RUNS, out / _LOG):
        folder.mkdir(exist_ok=True)
        remove_parts(folder)
    commands = out / _LOG / _COMMANDS
    text = (commands.read_bytes() if commands.exists() else b"") + shlex.join(sys.argv).encode() + b"\n"
    write_atomically(commands, lambda file: file.write(text))


def is_held(out: Path, *, resume: bool) -> bool:
    """Whether a folder, made if missing, holds files; ValueError if it does and is not to be resumed."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, got the file {os.fspath(out)!r}")
    out.mkdir(parents=True, exist_ok=True)
    held = sorted(entry.name for entry in out.iterdir() if entry.name != LOCK and entry.suffix != ".part")
    if held and not resume:
        raise ValueError(
            f"out must be a new or empty folder unless resumed, got {os.fspath(out)!r}, which holds {held[0]!r}"
        )
    return bool(held)


def write_experiment(out: Path, experiment: Experiment) -> None:
    """Write ``experiment.json``; where agents are tuned first, `write_reported` adds the reported agents."""
    content = {
        "format": _FORMAT,
        "settings": _settings(experiment),
        "reported": _reported_before(experiment, None),
        "versions": versions() | sources(experiment),
    }
    write_json(out / EXPERIMENT_FILE, content)


def write_reported(out: Path, agents: tuple[AgentSpec, ...]) -> None:
    """Add the reported agents to the folder's description."""
    write_json(out / EXPERIMENT_FILE, {**_read_experiment(out), "reported": [_spec_state(spec) for spec in agents]})


def _reported_before(experiment: Experiment, known: Any) -> Any:
    """The reported agents; before tuning has ended, those of an earlier description."""
    return known if experiment.tuned_before else [_spec_state(spec) for spec in experiment.agents]


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON, completely or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False).encode()
    write_atomically(path, lambda file: file.write(text))


def write_record(out: Path, experiment: Experiment, spec: AgentSpec, record: RunRecord) -> None:
    """Write one run's record.

    Raises
    ------
    OSError
        If the record cannot be written; earlier records are complete.
    """
    numbers = asdict(record)
    arrays = {"rounds": numbers.pop("rounds"), "regret": numbers.pop("regret")}
    times = {name: numbers.pop(name) for name in _TIMES}
    known = {name: value for name, value in numbers.items() if name != "exploration" or value is not None}
    settings = {"format": _FORMAT, "identity": identity(experiment, spec, record.seed), **known}
    try:
        write_json(_times_path(out, spec, record.seed), times)  # first, because the other file marks a run as finished
        write_archive(_run_path(out, spec, record.seed), arrays, settings)
    except OSError as error:
        why = f"{error.strerror}; finished runs are kept, resume goes on with the others"
        raise OSError(error.errno, why, error.filename) from error


def read_record(out: Path, experiment: Experiment, spec: AgentSpec, seed: int) -> RunRecord:
    """Read one run's record.

    Raises
    ------
    FileNotFoundError
        If the run has no record.
    ValueError
        If the record is damaged, was edited or belongs to another experiment.
    """
    path = _run_path(out, spec, seed)
    arrays, settings = read_archive(path, ("rounds", "regret"), _UNSEALED)
    if settings.get("format") not in (_FORMAT, *_UNSEALED):
        raise ValueError(f"{os.fspath(path)!r} must be a record in format {_FORMAT}, got {settings.get('format')!r}")
    asked = identity(experiment, spec, seed)
    for name, old, new in differences(settings.pop("identity", None), json.loads(json.dumps(asked))):
        raise ValueError(f"{os.fspath(path)!r} must be a record of this experiment, got {name} {old!r}, not {new!r}")
    rounds = kept_rounds(experiment.num_rounds)
    try:
        if not np.array_equal(arrays["rounds"], rounds):
            raise ValueError(f"rounds must be 1..{experiment.num_rounds} as kept, got {arrays['rounds']!r:.100}")
        numbers: dict[str, Any] = {name: integer(name, settings[name], 0) for name in _SEEDS}
        numbers["total_reward"] = number("total_reward", settings["total_reward"])
        regret = finite_array("regret", arrays["regret"], rounds.shape)
        if numbers["seed"] != seed:
            raise ValueError(f"seed must be {seed}, got {numbers['seed']}")
        if (code := settings.get("code")) is not None and (not isinstance(code, dict) or code.keys() != UNKNOWN.keys()):
            raise ValueError(f"code must have the entries {[*UNKNOWN]}, got {code!r:.200}")
        if not isinstance(chosen := settings.get("exploration"), str | None):
            raise ValueError(f"exploration must be the words of a choice, got {chosen!r:.200}")
    except (KeyError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)!r} must be a whole record of a run: {error}") from error
    numbers |= {"exploration": chosen, "code": code}
    return RunRecord(rounds=rounds, regret=regret, **numbers, **_read_times(out, spec, seed))


def _read_times(out: Path, spec: AgentSpec, seed: int) -> dict[str, Any]:
    """A run's times; NaN where results were copied without their log."""
    path = _times_path(out, spec, seed)
    try:
        times = parse_json(path.read_bytes())
        times = {"cpu_seconds": math.nan, "blas_threads": None, **times}  # older records have neither
        threads = times["blas_threads"]
        found: dict[str, Any] = {name: float(times[name]) for name in _SECONDS}
        return {**found, "blas_threads": None if threads is None else integer("blas_threads", threads, 1)}
    except FileNotFoundError:
        return dict.fromkeys(_SECONDS, math.nan)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)!r} must hold the times of a run: {error!r}") from error


_SEEDS = ("seed", "env_seed", "agent_seed")
_SECONDS = ("act_seconds", "update_seconds", "cpu_seconds")
_TIMES = (*_SECONDS, "blas_threads")


def load_records(folder: str | os.PathLike[str]) -> Comparison:
    """Read an experiment's folder.

    Parameters
    ----------
    folder : the folder passed to `compare` or `tune` as ``out``.

    Returns
    -------
    Comparison
        The comparison on the seeds that every agent has finished; a warning says how many are missing.

    Raises
    ------
    ValueError
        If the folder holds no experiment, a file is damaged, or no seed is finished.
    """
    saved = _read_experiment(out := Path(folder))
    experiment = _experiment_from(out, saved)
    runs: dict[int, tuple[RunRecord, ...]] = {}
    for seed in experiment.seeds:
        try:
            runs[seed] = tuple(read_record(out, experiment, spec, seed) for spec in experiment.agents)
        except FileNotFoundError:
            continue
        except ValueError as error:
            raise ValueError(f"{error}; resume the experiment, and the run is made again") from error
    if not runs:
        raise ValueError(f"folder must hold a finished seed of every agent, got none in {os.fspath(out)!r}")
    if len(runs) < len(experiment.seeds):
        held = f"{len(runs)} of {len(experiment.seeds)} seeds"
        warnings.warn(f"{os.fspath(out)!r} holds {held}; resume the experiment for the rest", stacklevel=2)
        experiment = replace(experiment, seeds=tuple(runs))
    by_label = {spec.label: tuple(r[i] for r in runs.values()) for i, spec in enumerate(experiment.agents)}
    tuning = load_records(out / TUNING) if experiment.tuned_before else None
    return Comparison(experiment, by_label, tuning)


def check_resumed(out: Path, experiment: Experiment) -> dict[str, Any]:
    """Read the description in a folder to be resumed, which may differ from the experiment in seeds and agents only.

    Raises
    ------
    ValueError
        If the folder holds another experiment, or none.
    """
    saved = _read_experiment(out)
    held, asked = saved["settings"], json.loads(json.dumps(_settings(experiment)))
    free = {"seeds": asked["seeds"], "agents": asked["agents"], "tuning": _tuning_to_go_on(held.get("tuning"), asked)}
    for name, old, new in differences({**held, **free}, asked):
        raise ValueError(
            f"out must hold the same experiment to be resumed, but for seeds and agents, got {os.fspath(out)!r} with "
            f"{name} = {old!r}, asked for {new!r}: give another folder"
        )
    return saved


def _tuning_to_go_on(held: Any, asked: dict[str, Any]) -> Any:
    """The part of a folder's tuning settings that must equal the settings asked for.

    For tuning runs nothing must be equal: their agents contain the scales. A folder written before grids could grow has
    no setting for brackets, and can be resumed with or without them.
    """
    if asked["role"] == "tuning":
        return asked["tuning"]
    new = asked["tuning"]
    if isinstance(held, dict) and isinstance(new, dict) and "bracket" not in held:
        return {**held, "bracket": new["bracket"]}
    return held


def _take_up(out: Path, experiment: Experiment) -> None:
    """Update a folder's description to an experiment. Runs not asked for stay, and are used when asked for again."""
    saved = check_resumed(out, experiment)
    known, now = saved.get("versions"), versions() | sources(experiment)
    known = known if isinstance(known, dict) else {}
    for name, old, new in differences(known, {name: now.get(name, known[name]) for name in known}):
        warnings.warn(f"resuming records of {name} {old} with {new}: runs may differ", stacklevel=4)
    if saved["format"] in _UNSEALED:
        warnings.warn(
            f"resuming records of format {saved['format']} in {os.fspath(out)!r}, which have no digest: an edited "
            f"number in them is not found; new runs are written in format {_FORMAT}",
            stacklevel=4,
        )
    taken = {
        **saved,
        "settings": _settings(experiment),
        "reported": _reported_before(experiment, saved.get("reported")),
        "versions": now | known,
    }
    if json.loads(json.dumps(taken)) != saved:
        write_json(out / EXPERIMENT_FILE, taken)


def _read_experiment(out: Path) -> dict[str, Any]:
    path = out / EXPERIMENT_FILE
    try:
        saved = parse_json(path.read_bytes())
        if saved["format"] not in (_FORMAT, *_UNSEALED) or not isinstance(saved["settings"], dict):
            raise ValueError(f"format {saved['format']!r}")
    except FileNotFoundError as error:
        raise ValueError(f"{os.fspath(out)!r} must be a folder of records, got no {EXPERIMENT_FILE} in it") from error
    except (ValueError, KeyError, TypeError) as error:
        formats = " or ".join(map(str, (*_UNSEALED, _FORMAT)))
        raise ValueError(f"{os.fspath(path)!r} must be written by dts_gym in format {formats}: {error}") from error
    return dict(saved)


def _experiment_from(out: Path, saved: dict[str, Any]) -> Experiment:
    if saved.get("reported") is None:
        raise ValueError(f"folder must hold finished runs, got {os.fspath(out)!r}, which was stopped while tuning")
    try:
        agents = tuple(AgentSpec(**spec) for spec in saved["reported"])
        settings = {**saved["settings"], "agents": agents, "seeds": tuple(saved["settings"]["seeds"])}
        if settings["role"] not in get_args(Role):
            raise ValueError(f"role {settings['role']!r}")
        for name, value in (("num_rounds", settings["num_rounds"]), *(("seeds", seed) for seed in settings["seeds"])):
            integer(name, value, 0)
        return Experiment(**settings)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(out / EXPERIMENT_FILE)!r} must be a whole description: {error}") from error


def _settings(experiment: Experiment) -> dict[str, Any]:
    left_out = ("agents",) if experiment.auto_once else ("agents", "auto_once")  # as before there was such a setting
    plain = {name: describe(name, value) for name, value in vars(experiment).items() if name not in left_out}
    return {**plain, "agents": [_spec_state(spec) for spec in experiment.agents]}


def _spec_state(spec: AgentSpec) -> dict[str, Any]:
    return {"id": spec.id, "settings": describe("settings", spec.settings), "label": spec.label}


def file_name(label: str) -> str:
    """A file name for a label, different for every label.

    Examples
    --------
    >>> file_name("LinTS"), file_name("LinTS (exploration 0.5)")
    ('LinTS', 'LinTS-exploration-0.5-f6b5a404')
    """
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", label).strip("-.")[:80]
    if name != label:  # two labels may be reduced to the same name
        name += "-" + hashlib.sha256(label.encode()).hexdigest()[:8]
    return name


def _run_path(out: Path, spec: AgentSpec, seed: int) -> Path:
    return out / _RUNS / f"{file_name(spec.label)}-seed-{seed}.npz"


def _times_path(out: Path, spec: AgentSpec, seed: int) -> Path:
    return out / _LOG / f"{file_name(spec.label)}-seed-{seed}.json"
