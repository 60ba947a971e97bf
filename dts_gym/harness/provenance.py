"""Where results come from: settings as JSON, versions, digests of code and files, and the differences between two."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from dts_gym.harness.experiment import Experiment
from dts_gym.posteriors.fast.switch import is_fast
from dts_gym.registry import agent_class, env_creator, is_built_in
from dts_gym.utils.extras import OPTIONAL_AGENTS


def describe(name: str, value: Any) -> Any:
    """Return ``value`` as JSON data; arrays and priors become a digest of their content.

    Raises
    ------
    ValueError
        If a record could not distinguish the value from another one.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): describe(f"{name}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(name, item) for item in value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": list(value.shape), "dtype": str(value.dtype), "sha256": digest}
    if hasattr(value, "state"):  # a prior or a problem: settings and arrays from which it can be built again
        try:
            state = value.state()
        except ValueError as error:
            raise ValueError(
                f"{name} must be what can be saved where records are kept (out): {error}; a registered environment "
                "that makes it needs no such setting"
            ) from error
        return {"type": type(value).__name__, "state": describe(name, state)}
    raise ValueError(f"{name} must be plain data, an array or a prior where records are kept, got {value!r:.200}")


def differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: name, old value, new value.

    Examples
    --------
    >>> list(differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}))
    [('b.c', 2, 3)]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif isinstance(old, list) and isinstance(new, list):
        for i, (a, b) in enumerate(zip_longest(old, new)):
            yield from differences(a, b, f"{name}[{i}]")
    elif old != new:
        yield name, old, new


def versions() -> dict[str, str]:
    """Versions of Python, this package and the packages that results depend on; numba's where rounds are compiled."""
    packages = {name.replace("-", "_"): version(name) for name in ("dts-gym", "numpy", "scipy", "gymnasium")}
    compiled = version("numba") if is_fast() else "not used"
    return {"python": platform.python_version(), **packages, "numba": compiled}


def sources(experiment: Experiment) -> dict[str, str]:
    """Digests of the classes of a user's own agents and environment, and of the files that settings name.

    A setting names a file if it is a path, or a word with a suffix, and that file exists. Code whose source Python
    cannot read is left out.
    """
    found: dict[str, str] = {}
    if not is_built_in(experiment.env_id):
        found |= _code(f"environment {experiment.env_id}", env_creator(experiment.env_id))
    for path in _files(experiment.env_settings):
        found[f"file {path}"] = _digest(path.read_bytes())
    for spec in experiment.agents:
        if spec.id in OPTIONAL_AGENTS:
            found["stable_baselines3"] = version("stable-baselines3")
        if not is_built_in(spec.id):
            found |= _code(f"agent {spec.id}", agent_class(spec.id))
        for path in _files(spec.settings):
            found[f"file {path}"] = _digest(path.read_bytes())
    return found


def _code(name: str, target: Any) -> dict[str, str]:
    try:
        return {name: _digest(inspect.getsource(target).encode())}
    except (OSError, TypeError):
        return {}


def _files(settings: Mapping[str, Any]) -> Iterator[Path]:
    for value in settings.values():
        if isinstance(value, os.PathLike) or (isinstance(value, str) and os.path.splitext(value)[1]):
            path = Path(value)
            if path.is_file():
                yield path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
