"""Settings as JSON holds them, and where two of these differ."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import zip_longest
from typing import Any

import numpy as np


def describe(name: str, value: Any) -> Any:
    """``value`` as JSON holds it; arrays and priors by a digest of what is in them.

    Raises
    ------
    ValueError
        If it is nothing that a record can tell apart from another.
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
    """Of Python, this package and those that results depend on."""
    import dts_gym  # here, as the package imports this module

    packages = {name: version(name) for name in ("numpy", "scipy", "gymnasium")}
    return {"python": platform.python_version(), "dts_gym": dts_gym.__version__, **packages}
