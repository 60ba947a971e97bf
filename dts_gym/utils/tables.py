"""Tables as aligned text, Markdown or CSV, and numbers with their standard errors."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri, stdtrit

from dts_gym.utils.arrays import Array
from dts_gym.utils.extras import missing_extra

Style = Literal["text", "markdown", "csv"]
MARK = "†"
_LEFT = ' style="text-align: left"'


def standard_error(values: Array) -> Array:
    """Standard error of the mean over the first axis; NaN for a single run.

    Parameters
    ----------
    values : (seeds, ...) values.

    Returns
    -------
    (...)
    """
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


def mean_interval(values: Array, level: float = 0.95) -> tuple[float, float, float]:
    """The mean of values (n,) between the ends of its confidence interval, Student's t; NaN ends for a single value.

    For paired differences it is the interval of the mean difference.

    Examples
    --------
    >>> [round(end, 3) for end in mean_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.484, 2.0, 4.484]
    """
    n, mean = len(values), float(values.mean())
    if n < 2:
        return math.nan, mean, math.nan
    half = float(stdtrit(n - 1, 0.5 + level / 2) * values.std(ddof=1) / math.sqrt(n))
    return mean - half, mean, mean + half


def share_interval(values: Array, level: float = 0.95) -> tuple[float, float, float]:
    """The share of ones among zeros and ones (n,) between the ends of its confidence interval, Wilson's.

    It lies in [0, 1] and has a width also where all values are equal.

    Examples
    --------
    >>> [round(end, 3) for end in share_interval(np.ones(3))]
    [0.439, 1.0, 1.0]
    """
    n, share = len(values), float(values.mean())
    z = float(ndtri(0.5 + level / 2))
    middle, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return max((middle - spread) / (1 + z * z / n), 0.0), share, min((middle + spread) / (1 + z * z / n), 1.0)


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
    """A cell's text, with ``MARK`` after it where ``mark`` is true.

    Examples
    --------
    >>> marked("0.5", True), marked("0.5", "")
    ('0.5 †', '0.5')
    """
    return f"{text} {MARK}" if mark else text


def footnotes(texts: Iterable[str]) -> str:
    """The meanings of ``MARK`` in a table: an empty line and a line for each different text; empty without texts.

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
    """Format rows of cells, the first one the header, as aligned text or Markdown; the result ends with a newline.

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
    """The text of a CSV file, with all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def html_table(
    rows: Sequence[Sequence[str]],
    left: int = 1,
    *,
    title: str = "",
    notes: Iterable[str] = (),
    marks: Mapping[str, str] | None = None,
) -> str:
    """Rows of cells, the first one the header, as an HTML table; a cell's content is shown as text.

    Parameters
    ----------
    rows : each cell also carries its column's header, as ``data-label``, for pages that stack cells.
    left : number of columns aligned to the left; the cells of the others have the class "number".
    title : caption of the table.
    notes : meanings of ``MARK``, a line each below the table.
    marks : text of a cell -> class of a span around it.

    Examples
    --------
    >>> html_table([["a"], ["<b>"]], left=0)  # doctest: +ELLIPSIS
    '...<tbody><tr><td class="number" data-label="a">&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th{_LEFT if i < left else ''}>{escape(cell)}</th>" for i, cell in enumerate(rows[0]))
    body = []
    for row in rows[1:]:
        cells = []
        for i, (cell, label) in enumerate(zip(row, rows[0], strict=True)):
            kind = (marks or {}).get(cell)
            text = escape(cell) if kind is None else f'<span class="mark {kind}">{escape(cell)}</span>'
            side = _LEFT if i < left or kind is not None else ' class="number"'
            cells.append(f'<td{side} data-label="{escape(label)}">{text}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    below = "".join(f"<p>{MARK} {escape(text)}</p>" for text in dict.fromkeys(notes))
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{below}"


def data_frame(data: Any, columns: Sequence[str] | None = None) -> Any:
    """A pandas DataFrame of columns by name, or of rows with the names of their columns.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise missing_extra("to_pandas", "pandas", "pandas", error) from error
    return pandas.DataFrame(data, columns=columns)
