"""Whether posteriors use the compiled kernels, and where these are found."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

VARIABLE = "DTS_GYM_FAST"


@cache
def _is_installed() -> bool:
    return find_spec("numba") is not None


def is_fast() -> bool:
    """Whether posteriors that are made now use compiled kernels.

    They do where the extra ``fast`` is installed, unless the environment variable ``DTS_GYM_FAST`` is 0.

    Raises
    ------
    ValueError
        If the variable is neither 0 nor 1.

    Examples
    --------
    >>> import os
    >>> before = os.environ.get("DTS_GYM_FAST")
    >>> os.environ["DTS_GYM_FAST"] = "0"
    >>> is_fast()
    False
    >>> _ = os.environ.pop("DTS_GYM_FAST") if before is None else os.environ.update(DTS_GYM_FAST=before)
    """
    value = os.environ.get(VARIABLE, "1")
    if value not in ("0", "1"):
        raise ValueError(f"the environment variable {VARIABLE} must be 0 or 1, got {value!r:.200}")
    return value == "1" and _is_installed()


@cache
def kernels() -> ModuleType:
    """The module of compiled kernels; the first call imports numba, which takes about half a second."""
    return import_module("dts_gym.posteriors.fast.kernels")
