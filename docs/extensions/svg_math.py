"""Formulas as SVG in the page: they look alike in every browser, and no page fetches a script or a font."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache
from html import escape
from typing import Any

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_SIZE = 16.0  # pixels an em, while drawing
_SCALE = 1.1  # of the text around


@cache
def svg_of(latex: str, inline: bool) -> str:
    """A formula as an SVG element in units of the text, in its colour, with the LaTeX for those who cannot see it.

    Raises
    ------
    ValueError
        For a command that the converter does not know: it would stand in the formula as a word.
    """
    # The converter leaves no room around this relation.
    spaced = re.sub(r"\\sim\b", r"\\;\\sim\\;", latex)
    try:
        formula = ziamath.Latex(spaced, size=_SIZE, color="currentColor", inline=inline)
    except ET.ParseError as error:
        raise ValueError(f"latex must have commands known to latex2mathml, got {latex!r}: {error}") from error
    # What the converter does not know it hands on as it stands.
    unknown = [text for text in formula.mathml.itertext() if "\\" in text]
    if unknown:
        raise ValueError(f"latex must have commands known to latex2mathml, got {unknown[0]!r} in {latex!r}")
    svg = formula.svgxml()
    em = _SCALE / _SIZE
    # The box ends this far below the baseline.
    drop = formula.getyofst() - formula.margin
    width, height = (float(svg.attrib.pop(name)) * em for name in ("width", "height"))
    svg.attrib |= {
        "role": "img",
        "aria-label": latex,
        "style": f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{drop * em:.3f}em",
    }
    return ET.tostring(svg, encoding="unicode")


def _drawn(node: Any, inline: bool) -> str:
    try:
        return svg_of(node.astext().strip(), inline)
    except ValueError as error:
        raise ExtensionError(f"{node.source}:{node.line}: {error}") from error


def _visit_inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(f'<span class="math">{_drawn(node, True)}</span>')
    raise nodes.SkipNode


def _visit_block(writer: Any, node: nodes.math_block) -> None:
    anchors = "".join(f'<span id="{escape(name)}"></span>' for name in node["ids"])
    writer.body.append(f'{anchors}<div class="math">{_drawn(node, False)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Make "svg" a renderer of formulas."""
    app.add_html_math_renderer("svg", inline_renderers=(_visit_inline, None), block_renderers=(_visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
