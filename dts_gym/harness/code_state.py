"""Which state of the code made a result: the package's version, the commit, and whether files had changed since.

In a checkout git knows it; a wheel carries what its build knew, in a file beside the package's modules. ``setup.py``
runs this module by its path when a wheel is built, so it imports nothing of the package at its top.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STAMP = "built_from.json"  # in the package's folder, in wheels and source archives only
UNKNOWN: dict[str, Any] = {"dts_gym": None, "commit": None, "dirty": None}  # of results that say nothing
_FOLDERS = ("dts_gym", "agents", "envs")  # of a checkout: code that results depend on


def commit_of(package: Path) -> dict[str, Any]:
    """The commit that a package's folder is of, and whether its code has changed since.

    Parameters
    ----------
    package : folder of the package ``dts_gym``, in a checkout, a source archive or a place of installed packages.

    Returns
    -------
    dict
        "commit", in full, and "dirty", a boolean; both None where neither git nor a stamp knows. A folder that lies in
        a checkout of something else, as in an environment there, is not taken for a part of it.
    """
    tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
    commit = _git(package, "rev-parse", "HEAD") if tracked else None
    if commit:
        folders = [name for name in _FOLDERS if (package.parent / name).is_dir()]
        changed = _git(package.parent, "--no-optional-locks", "status", "--porcelain", "--", *folders)
        return {"commit": commit, "dirty": None if changed is None else bool(changed)}
    try:
        stamp = json.loads((package / STAMP).read_bytes())
        return {"commit": stamp["commit"], "dirty": stamp["dirty"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"commit": None, "dirty": None}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints in a folder; None where it fails or is not installed."""
    # Within a hook of git its variables name the repository of the hook.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", os.fspath(folder), *words]
    try:
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


@functools.cache
def _imported() -> dict[str, Any]:
    import dts_gym

    return {"dts_gym": dts_gym.__version__, **commit_of(Path(dts_gym.__file__).parent)}


def code_state() -> dict[str, Any]:
    """The state of the imported package: "dts_gym", its version; "commit" and "dirty", see `commit_of`.

    Asked once in a process, so it is that of the first result.

    Examples
    --------
    >>> list(code_state())
    ['dts_gym', 'commit', 'dirty']
    """
    return dict(_imported())


def state_text(state: Mapping[str, Any]) -> str:
    """A state in a few words.

    Examples
    --------
    >>> state_text({"dts_gym": "0.1.0", "commit": "8f0c1d2e3b4a5968778695a4b3c2d1e0f9e8d7c6", "dirty": True})
    'dts_gym 0.1.0, commit 8f0c1d2e3b4a with changes'
    >>> state_text({"dts_gym": "0.1.0", "commit": None, "dirty": None})
    'dts_gym 0.1.0, commit unknown'
    """
    version, commit = (str(state.get(name) or "unknown") for name in ("dts_gym", "commit"))
    return f"dts_gym {version}, commit {commit[:12]}{' with changes' if state.get('dirty') else ''}"


def distinct(states: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The different ones of states, in their order."""
    found: list[dict[str, Any]] = []
    for state in map(dict, states):
        if state not in found:
            found.append(state)
    return found
