"""Logs of other libraries: Open Bandit Pipeline's dictionary, the Open Bandit data set, Vowpal Wabbit's text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dts_gym.offpolicy.text_tables import Kind, as_number, read_table
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import as_float64, integer

# The columns of numbers.
_ROUNDS: dict[str, Kind] = {"item_id": "index", "position|click": "number", "propensity_score": "probability"}


def obp_arrays(feedback: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a `BanditLog` from Open Bandit Pipeline's dictionary.

    Raises
    ------
    ValueError
        If an entry lacks, or slates have several positions.
    """
    if not isinstance(feedback, Mapping):
        raise ValueError(f"feedback must be a dictionary of Open Bandit Pipeline, got {feedback!r:.200}")
    lacking = [name for name in ("context", "action", "reward") if feedback.get(name) is None]
    if lacking:
        raise ValueError(f"feedback must have 'context', 'action' and 'reward', got none under {lacking[0]!r}")
    propensities = feedback.get("pscore")
    every = feedback.get("pi_b")
    if every is not None:
        every = as_float64("pi_b", every)
        if every.ndim == 3 and every.shape[2] != 1:
            raise ValueError(f"feedback must have one position in 'pi_b', got shape {every.shape}")
        propensities = every[..., 0] if every.ndim == 3 else every
    return {
        "contexts": feedback["context"],
        "actions": feedback["action"],
        "rewards": feedback["reward"],
        "propensities": propensities,
        "num_actions": feedback.get("n_actions"),
        "action_features": feedback.get("action_context"),
    }


def obd_arrays(folder: str | os.PathLike[str], position: int | None) -> dict[str, Any]:
    """Arguments of a `BanditLog` from a folder of the Open Bandit data set."""
    place = Path(folder)
    if not place.is_dir():
        raise FileNotFoundError(2, "there is no such folder", os.fspath(folder))
    items = place / "item_context.csv"
    rounds = [path for path in sorted(place.glob("*.csv")) if path.name != items.name]
    if len(rounds) != 1:
        names = [path.name for path in rounds]
        raise ValueError(f"folder must have one file of rounds such as men.csv, got {names} in {os.fspath(folder)!r}")
    path = rounds[0]
    with path.open(encoding="utf-8") as file:
        header = [name.strip() for name in file.readline().rstrip("\r\n").split(",")]
    users = [name for name in header if name.startswith("user_feature_")]
    needed = ("item_id", "position", "click", "propensity_score", *(users or ("user_feature_0",)))
    table = read_table(path, _ROUNDS, needed=needed)
    kept = np.ones(len(table["click"]), dtype=bool)
    if position is not None:
        kept = table["position"] == integer("position", position, 1)
        if not kept.any():
            known = sorted(set(table["position"].astype(int).tolist()))
            raise ValueError(f"position must be one of {known}, got {position}")
    features = None
    num_actions = int(table["item_id"].max()) + 1
    if items.exists():
        features, num_actions = _items(items)
    return {
        "contexts": np.column_stack([*(_indicators(table[name])[kept] for name in users), np.ones(kept.sum())]),
        "actions": table["item_id"][kept].astype(np.int64),
        "rewards": table["click"][kept],
        "propensities": table["propensity_score"][kept],
        "num_actions": num_actions,
        "action_features": features,
    }


def _items(path: Path) -> tuple[Array, int]:
    """Features of the items, a number or indicators of words a column, (K, q), and K."""
    with path.open(encoding="utf-8") as file:
        header = [name.strip() for name in file.readline().rstrip("\r\n").split(",")]
    names = [name for name in header if name.startswith("item_feature_")]
    table = read_table(path, _ROUNDS, needed=("item_id",))
    order = np.argsort(table["item_id"])
    columns: list[Array] = []
    for name in names:
        try:
            columns.append(table[name].astype(np.float64)[:, None])
        except ValueError:  # words
            columns.append(_indicators(table[name]))
    count = len(order)
    return np.column_stack([column[order] for column in columns]) if columns else np.zeros((count, 1)), count


def _indicators(words: Any) -> Array:
    """(n, values - 1) indicators of the values of a column, without the first in the order of the alphabet."""
    values = np.unique(words)
    return np.asarray(words[:, None] == values[None, 1:], dtype=np.float64)


def vw_arrays(path: str | os.PathLike[str], num_actions: int | None) -> dict[str, Any]:
    """Arguments of a `BanditLog` from a text file of Vowpal Wabbit, ``action:cost:probability | features``."""
    place = os.fspath(path)
    columns: dict[str, int] = {}
    rows: list[dict[int, float]] = []
    labels: list[tuple[int, float, float]] = []
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    label, _, rest = line.rstrip("\r\n").partition("|")
                    labels.append(_vw_label(label, place, number, "|" in line, num_actions))
                    rows.append(_vw_features(rest, len(label) + 2, columns, place, number))
    except UnicodeDecodeError as error:
        raise ValueError(f"path must be a text file in UTF-8, got {place!r}: {error}") from error
    if not rows or not columns:
        raise ValueError(f"path must have a line with features or more, got {place!r}")
    contexts = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, value in row.items():
            contexts[i, j] = value
    actions, costs, probabilities = (np.array(part) for part in zip(*labels, strict=True))
    return {
        "contexts": contexts,
        "actions": actions,
        "rewards": -costs,
        "propensities": probabilities,
        "num_actions": num_actions,
    }


def _vw_label(text: str, place: str, line: int, has_bar: bool, most: int | None) -> tuple[int, float, float]:
    """Action (from 0), cost and probability of a round."""
    words = text.split()
    column = len(text) - len(text.lstrip()) + 1
    if not has_bar or len(words) != 1 or words[0] == "shared" or words[0].count(":") != 2:
        raise ValueError(
            f"path must have lines 'action:cost:probability | features', got {text!r:.60} in line {line}, column "
            f"{column} of {place!r}; rounds of several lines (--cb_explore_adf) are not read"
        )
    action, cost, probability = words[0].split(":")
    after_action = column + len(action) + 1
    if not action.isdecimal() or not 1 <= int(action) <= (most or int(action)):
        known = "1, 2, ..." if most is None else f"1..{most}"
        raise ValueError(
            f"path must have actions {known}, got {action!r:.60} in line {line}, column {column} of {place!r}"
        )
    p = as_number(probability, place, line, after_action + len(cost) + 1, "probability")
    return int(action) - 1, as_number(cost, place, line, after_action), p


def _vw_features(text: str, start: int, columns: dict[str, int], place: str, line: int) -> dict[int, float]:
    """Values of a round's features by column; ``start`` is where the text begins in its line, counted from 1."""
    found: dict[int, float] = {}
    at = start
    for part in text.split("|"):
        words = part.split(" ")
        namespace = words[0].partition(":")[0] if words[0] else ""
        place_in_line = at + len(words[0]) + 1
        for word in words[1:]:
            if word:
                name, colon, value = word.rpartition(":")
                name = name if colon else word
                number = as_number(value, place, line, place_in_line + len(name) + 1) if colon else 1.0
                key = columns.setdefault(f"{namespace}^{name}" if namespace else name, len(columns))
                found[key] = found.get(key, 0.0) + number
            place_in_line += len(word) + 1
        at += len(part) + 1
    return found
