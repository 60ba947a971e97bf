"""Packages that only some functions need: the agents that they bring, and the error that says which one is missing."""

from __future__ import annotations

from typing import Any

# Agents that another package brings: id -> "module:Class", and the settings that differ from that package's defaults.
OPTIONAL_AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "PPO": ("dts_gym.integrations.sb3_learners:PPO", {"gamma": 0.0, "n_steps": 250, "batch_size": 50}),
    "DQN": ("dts_gym.integrations.sb3_learners:DQN", {"gamma": 0.0}),
    "A2C": ("dts_gym.integrations.sb3_learners:A2C", {"gamma": 0.0}),
}


def missing_extra(what: str, package: str, extra: str, error: ImportError) -> ImportError:
    """The error to raise where ``what`` needs a package of an extra.

    Examples
    --------
    >>> print(missing_extra("to_pandas", "pandas", "pandas", ImportError("No module named 'pandas'")))
    to_pandas needs pandas, which is not installed (No module named 'pandas'); in the checkout of dts_gym:
    pip install -c constraints.txt -e '.[pandas]'
    """
    return ImportError(
        f"{what} needs {package}, which is not installed ({error}); in the checkout of dts_gym: "
        f"pip install -c constraints.txt -e '.[{extra}]'"
    )
