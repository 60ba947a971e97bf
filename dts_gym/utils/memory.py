"""Sizes that this machine cannot hold are refused before they are computed."""

from __future__ import annotations

import os
from pathlib import Path


def refuse_larger(name: str, what: str, needed: int, advice: str = "") -> None:
    """Raise ValueError if ``needed`` bytes are more than this process may use.

    Parameters
    ----------
    name : the argument or the product of arguments that sets the size.
    what : the sizes and what they are of, for the message: "5 x 5 parameters".
    needed : bytes.
    advice : what else the user may do, for the end of the message.
    """
    memory = memory_bytes()
    if memory is not None and needed > memory:
        asked, there = min(needed, 10**300) / 1e9, memory / 1e9
        raise ValueError(
            f"{name} must fit memory: {what} take {asked:.1f} GB to draw, this machine has {there:.1f} GB" + advice
        )


def memory_bytes() -> int | None:
    """Bytes that this process may use, by the machine or its control group; None where neither is known."""
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text()))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return min(limits, default=None)
