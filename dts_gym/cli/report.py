"""``dts-gym report``: one page with all results that were reproduced."""

from __future__ import annotations

import warnings
from pathlib import Path

import tyro

from dts_gym.studies.page import read_sections, report_page, states_warning, summary_text
from dts_gym.utils.archives import write_atomically


def run_report(folder: tyro.conf.Positional[Path], out: Path | None = None) -> str:
    """Put the results of `dts-gym reproduce` on one HTML page that needs no other file.

    A warning says so where the results were made by several states of the code.

    Parameters
    ----------
    folder :
        Folder of one experiment, or of several in a folder each.
    out :
        The HTML file to write; report.html in the folder unless given.

    Returns
    -------
    str
        The page's path and the experiments on it.
    """
    sections = read_sections(folder)
    path = folder / "report.html" if out is None else out
    if (several := states_warning(sections)) is not None:
        warnings.warn(several, stacklevel=2)
    text = report_page(sections)
    write_atomically(path, lambda file: file.write(text.encode()))
    return f"{summary_text(sections)}\n{path}: {', '.join(section.described['id'] for section in sections)}"
