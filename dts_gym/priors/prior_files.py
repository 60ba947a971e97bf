"""Prior files: arrays and settings in one .safetensors file, without pickle, checked when read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dts_gym.utils.archives import content_digest, write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.extras import missing_extra
from dts_gym.utils.text_files import parse_json

FORMAT, VERSION = "dts_gym.prior", 1


def write_prior_file(path: str | os.PathLike[str], settings: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a prior's state; if the process is killed at any moment, the old file or the new one remains.

    Parameters
    ----------
    path : path of the file, in a folder that exists.
    settings : settings of the prior, as JSON data.
    arrays : float64 arrays by name.

    Raises
    ------
    ImportError
        If safetensors is not installed.

    Notes
    -----
    The file's metadata hold one entry, under the format's name: JSON of its version, the settings, and a digest of
    settings and arrays. Equal priors give equal files.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise missing_extra("a prior file", "safetensors", "torch", error) from error
    plain = {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in arrays.items()}
    text = json.dumps(settings)
    head = {"version": VERSION, "settings": text, "sha256": content_digest(text, plain)}
    content = save(plain, metadata={FORMAT: json.dumps(head)})  # one entry, because the order of several is not fixed
    write_atomically(path, lambda file: file.write(content))


def read_prior_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `write_prior_file` wrote: settings and arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, written by another program or in a newer format.
    ImportError
        If safetensors is not installed.
    """
    name = os.fspath(path)
    if not Path(path).exists():  # said first: without the file, the package would not help
        raise FileNotFoundError(f"prior must be a file that Prior.save wrote, there is none at {name!r}")
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise missing_extra("a prior file", "safetensors", "torch", error) from error
    expected = f"path must be a prior file written by dts_gym, got {name!r}"
    try:
        with safe_open(name, framework="numpy") as file:
            head = parse_json((file.metadata() or {}).get(FORMAT, "{}"))
            arrays = {key: np.array(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{expected}: {error}") from error
    if not isinstance(head, dict) or "version" not in head:
        raise ValueError(f"{expected}: it has no entry {FORMAT!r}")
    if head["version"] != VERSION:
        raise ValueError(f"{expected}: its version is {head['version']!r}, this package reads {VERSION}")
    text = str(head.get("settings"))
    if head.get("sha256") != content_digest(text, arrays):
        raise ValueError(f"{expected}: damaged, its content does not match its digest")
    settings = parse_json(text)
    if not isinstance(settings, dict):
        raise ValueError(f"{expected}: no settings in it")
    return settings, arrays
