"""Files of logs: archives (.npz), tables (.csv, .parquet) and the folders that runs write, a file a block."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dts_gym.harness.round_log import FORMAT
from dts_gym.offpolicy.text_tables import Kind, read_table
from dts_gym.problem.rewards import RewardModel, reward_model
from dts_gym.utils.archives import read_archive, write_archive, write_atomically
from dts_gym.utils.extras import missing_extra
from dts_gym.utils.tables import csv_text

if TYPE_CHECKING:
    from dts_gym.offpolicy.log import BanditLog

_BLOCK = re.compile(r"rounds-(\d+)\.npz")
_HEAD = "# dts_gym log "  # how the line begins that holds a table's settings as JSON, above its header
_NAME = "action_name"
# The columns that are read.
_COLUMNS: dict[str, Kind] = {
    r"action": "label",
    r"mask_\d+": "index",
    r"propensity(_\d+)?": "probability",
    r"reward|context_\d+": "number",
}


def save_log(log: BanditLog, path: str | os.PathLike[str]) -> None:
    """Write a log; see `BanditLog.save`."""
    kind = Path(path).suffix
    if kind == ".npz":
        write_archive(path, _arrays(log), _settings(log))
    elif kind == ".csv":
        columns = _columns(log)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        text = f"{_HEAD}{json.dumps(_table_settings(log))}\n" + csv_text([*columns], rows)
        write_atomically(path, lambda file: file.write(text.encode()))
    elif kind == ".parquet":
        frame = _pandas().DataFrame(_columns(log))
        frame.attrs = _table_settings(log)
        try:
            write_atomically(path, lambda file: frame.to_parquet(file, index=False))
        except ImportError as error:
            raise missing_extra("parquet", "pyarrow", "parquet", error) from error
    else:
        raise ValueError(f"path must end in .npz, .csv or .parquet, got {os.fspath(path)!r}")


def load_log(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Arguments of a `BanditLog` from a file or folder; see `BanditLog.load`."""
    place = Path(path)
    if place.is_dir():
        return _load_blocks(place)
    if not place.exists():
        raise FileNotFoundError(2, "there is no such log", os.fspath(path))
    if place.suffix == ".npz":
        return _from_archive(*_read(place), str(place))
    if place.suffix == ".csv":
        return _load_csv(place)
    if place.suffix == ".parquet":
        try:
            frame = _pandas().read_parquet(place)
        except ImportError as error:
            raise missing_extra("parquet", "pyarrow", "parquet", error) from error
        columns = {str(name): frame[name].to_numpy() for name in frame.columns}
        told = frame.attrs if "format" in frame.attrs else {}  # of another's table nothing but its columns is known
        return _from_columns(columns, told, os.fspath(path))
    raise ValueError(f"path must end in .npz, .csv or .parquet, or be a folder of rounds, got {os.fspath(path)!r}")


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise missing_extra("parquet", "pandas", "parquet", error) from error
    return pandas


def _arrays(log: BanditLog) -> dict[str, NDArray[Any]]:
    named = ("contexts", "actions", "rewards", "propensities", "masks", "action_features")
    return {name: getattr(log, name) for name in named if getattr(log, name) is not None}


def _settings(log: BanditLog) -> dict[str, Any]:
    """What a file says of a log beside its rounds, as JSON data."""
    told: dict[str, Any] = {"format": FORMAT, "num_actions": log.num_actions, "adapted": log.adapted}
    if log.action_names is not None:
        told["action_names"] = list(log.action_names)
    if log.reward is not None:
        told["reward"] = {"name": log.reward.name, **log.reward.settings()}
        if type(_family(told["reward"])) is not type(log.reward):
            raise ValueError(f"reward must be of a family that files know, such as 'gaussian', got {log.reward!r:.200}")
    return told


def _family(told: Any) -> RewardModel | None:
    """The family of rewards that a file describes; None where it is not known or not one of this package."""
    try:
        return reward_model(**told)
    except (TypeError, ValueError):
        return None


def _table_settings(log: BanditLog) -> dict[str, Any]:
    """The same for a table, whose columns hold no features of the actions."""
    told = _settings(log)
    return told if log.action_features is None else {**told, "action_features": log.action_features.tolist()}


def _known(settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Arguments of a `BanditLog` from what a file says beside the rounds.

    Raises
    ------
    ValueError
        If the file is of another format.
    """
    found = settings.get("format")
    if found != FORMAT:
        raise ValueError(f"path must be a log of format {FORMAT}, got {found!r} in {path!r}")
    told = settings.get("reward")
    model = _family(told)
    if model is None and told not in (None, {"name": "unknown"}):
        raise ValueError(f"path must be a log with rewards of a family that is known, got {told!r:.200} in {path!r}")
    return {name: settings.get(name) for name in ("num_actions", "action_names", "adapted")} | {"reward": model}


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    arrays, settings = read_archive(path)
    lacking = {"contexts", "actions", "rewards"} - set(arrays)
    if lacking:
        raise ValueError(f"path must be a log, got {str(path)!r}, which has no {sorted(lacking)}")
    return arrays, settings


def _from_archive(arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    named = ("contexts", "actions", "rewards", "propensities", "masks", "action_features")
    return {name: arrays.get(name) for name in named} | _known(settings, path)


def _load_blocks(folder: Path) -> dict[str, Any]:
    """The rounds of a folder of blocks, ``rounds-00000.npz`` and so on, in order; blocks must follow each other."""
    found = sorted((int(match[1]), path) for path in folder.iterdir() if (match := _BLOCK.fullmatch(path.name)))
    if not found:
        raise ValueError(f"path must be a folder with rounds-00000.npz, got {str(folder)!r}, which has no rounds")
    numbers = [number for number, _ in found]
    if numbers != list(range(len(numbers))):
        gap = next(i for i, number in enumerate(numbers) if i != number)
        raise ValueError(f"path must hold every block of rounds, got {str(folder)!r} without number {gap}")
    blocks = [_read(path) for _, path in found]
    first = blocks[0][1]
    for (arrays, settings), (_, path) in zip(blocks, found, strict=True):
        if settings != first or (set(arrays) ^ set(blocks[0][0])) - {"masks"}:
            raise ValueError(
                f"path must hold blocks of one run, got {path.name} with other settings in {str(folder)!r}"
            )
    names = set().union(*(arrays for arrays, _ in blocks))
    if "masks" in names:  # a block without masks allowed every action
        for arrays, settings in blocks:
            arrays.setdefault("masks", np.ones((len(arrays["actions"]), settings["num_actions"]), dtype=bool))
    joined = {name: np.concatenate([arrays[name] for arrays, _ in blocks]) for name in sorted(names)}
    return _from_archive(joined, {"adapted": True, **first}, str(folder))  # the agent of a run learns


def _columns(log: BanditLog) -> dict[str, NDArray[Any]]:
    """The columns of a table of rounds."""
    if log.features == "shared":
        raise ValueError(f"path must end in .npz for contexts (n, K, d), got a log with {log.contexts.shape}")
    columns: dict[str, NDArray[Any]] = {f"context_{i}": column for i, column in enumerate(log.contexts.T)}
    columns["action"] = log.actions
    if log.action_names is not None:
        columns[_NAME] = np.array(log.action_names)[log.actions]
    columns["reward"] = log.rewards
    if log.propensities is not None and log.propensities.ndim == 1:
        columns["propensity"] = log.propensities
    elif log.propensities is not None:
        columns |= {f"propensity_{a}": column for a, column in enumerate(log.propensities.T)}
    if log.masks is not None:
        columns |= {f"mask_{a}": column.astype(np.int64) for a, column in enumerate(log.masks.T)}
    return columns


def _load_csv(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    told: dict[str, Any] = {}
    if first.startswith(_HEAD):
        try:
            told = dict(json.loads(first.removeprefix(_HEAD)))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"path must have JSON after {_HEAD!r} in its first line, got {first!r:.200} in {str(path)!r}"
            ) from error
    skip = 1 if first.startswith(_HEAD) else 0
    columns = read_table(path, skip=skip, needed=("action", "reward"), kinds=_COLUMNS)
    return _from_columns(columns, told, str(path))


def _from_columns(columns: Mapping[str, NDArray[Any]], told: Mapping[str, Any], path: str) -> dict[str, Any]:
    def numbered(name: str) -> NDArray[Any] | None:
        pattern = re.compile(rf"{name}_(\d+)")
        found = {int(match[1]): each for each in columns if (match := pattern.fullmatch(each))}
        if sorted(found) != list(range(len(found))):
            raise ValueError(f"path must have columns {name}_0, {name}_1, ... in {path!r}, got {sorted(found)}")
        return np.column_stack([columns[found[i]] for i in range(len(found))]) if found else None

    contexts = numbered("context")
    if contexts is None or not {"action", "reward"} <= set(columns):
        raise ValueError(f"path must have columns context_0, action and reward, got {[*columns]} in {path!r}")
    masks = numbered("mask")
    actions = np.asarray(columns["action"])
    named: dict[str, Any] = {}
    if actions.dtype.kind in "UO":
        if not all(isinstance(word, str) and word.strip() for word in actions):
            row = next(i for i, word in enumerate(actions) if not (isinstance(word, str) and word.strip()))
            raise ValueError(f"action must be a number or a word in {path!r}, got {actions[row]!r:.60} in round {row}")
        names, actions = np.unique(actions.astype(str), return_inverse=True)
        named = {"action_names": names.tolist(), "num_actions": len(names)}
    if (actions != np.floor(actions)).any():
        line = int(np.flatnonzero(actions != np.floor(actions))[0])
        raise ValueError(f"action must be an integer in {path!r}, got {actions[line]} in round {line}")
    return {
        "contexts": contexts,
        "actions": actions.astype(np.int64),
        "rewards": columns["reward"],
        "propensities": columns["propensity"] if "propensity" in columns else numbered("propensity"),
        "masks": None if masks is None else masks.astype(np.int64),
        "action_features": told.get("action_features"),
        **(_known(told, path) if told else {}),
        **named,
    }
