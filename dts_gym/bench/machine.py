"""Describes the machine, for tables of measured times."""

from __future__ import annotations

import os


def machine() -> str:
    """A description of the machine that was measured, as the last line of a table."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, OPENBLAS_NUM_THREADS {threads}; medians of one run"
