"""What an experiment hangs on beside its settings: code of a user's own, and files, by digests of what is in them."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dts_gym.experiment import Experiment
from dts_gym.registry import agent_class, env_creator, is_built_in


def sources(experiment: Experiment) -> dict[str, str]:
    """Digests of the classes of a user's own agents and environment, and of the files that settings name.

    A setting names a file where it is a path, or a word with a suffix, at which there is one. Code that Python cannot
    show is left out.
    """
    found: dict[str, str] = {}
    if not is_built_in(experiment.env_id):
        found |= _code(f"environment {experiment.env_id}", env_creator(experiment.env_id))
    for path in _files(experiment.env_settings):
        found[f"file {path}"] = _digest(path.read_bytes())
    for spec in experiment.agents:
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
