"""Tables as aligned text, Markdown or CSV, and numbers with their standard errors."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from dts_gym.utils.arrays import Array

Style = Literal["text", "markdown", "csv"]
MARK = "†"


def standard_error(values: Array) -> Array:
    """Standard error of the mean over the first axis; NaN for a single run.

    Parameters
    ----------
    values : (seeds, ...)

    Returns
    -------
    (...)
    """
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


def plus_minus(mean: float, error: float) -> str:
    """A mean with its standard error, to the error's second digit.

    Examples
    --------
    >>> plus_minus(3154.21, 30.4), plus_minus(7.512, 0.94), plus_minus(12.3, float("nan"))
    ('3154 ± 30', '7.51 ± 0.94', '12.3')
    """
    if not math.isfinite(error):
        return f"{mean:.1f}"
    digits = 1 if error <= 0 else min(max(1 - math.floor(math.log10(error)), 0), 6)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def marked(text: str, mark: object) -> str:
    """A cell's text, with ``MARK`` behind it where ``mark`` is true.

    Examples
    --------
    >>> marked("0.5", True), marked("0.5", "")
    ('0.5 †', '0.5')
    """
    return f"{text} {MARK}" if mark else text


def footnotes(texts: Iterable[str]) -> str:
    """What ``MARK`` means in a table: an empty line and a line for each different text; nothing without texts.

    Examples
    --------
    >>> print(footnotes(["the one", "the other", "the one"]), end="")
    <BLANKLINE>
    † the one
    † the other
    """
    lines = [f"{MARK} {text}\n" for text in dict.fromkeys(texts)]
    return "\n" + "".join(lines) if lines else ""


def layout(rows: Sequence[Sequence[str]], style: Style, left: int = 1) -> str:
    """Rows of cells, the first one the header, as aligned text or Markdown; ends with a newline.

    The first ``left`` columns are aligned to the left, the others to the right.

    Raises
    ------
    ValueError
        If there is no such style.
    """
    if style == "markdown":
        rule = ["---:" if i >= left else "---" for i in range(len(rows[0]))]
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return "".join(f"| {' | '.join(row)} |\n" for row in [escaped[0], rule, *escaped[1:]])
    if style != "text":
        raise ValueError(f"style must be 'text', 'markdown' or 'csv', got {style!r}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(_aligned(row, widths, left) for row in rows)


def _aligned(row: Sequence[str], widths: Sequence[int], left: int) -> str:
    pairs = enumerate(zip(row, widths, strict=True))
    cells = [cell.rjust(width) if i >= left else cell.ljust(width) for i, (cell, width) in pairs]
    return "   ".join(cells).rstrip() + "\n"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file's text, all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
