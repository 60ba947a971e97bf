"""Table cells of numbers or of one word do not break: on a narrow screen a table scrolls, and stays readable."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_WORD = re.compile(r"\S{1,20}")
_NUMBERS = re.compile(r"[-−+±\d.,()/%\s]*\d[-−+±\d.,()/%\s]*")


def mark_numbers(app: Sphinx, doctree: nodes.document) -> None:
    """Give cells of numbers, with their errors and brackets, the class "number", and cells of one word "word"."""
    for cell in doctree.findall(nodes.entry):
        if _NUMBERS.fullmatch(cell.astext()):
            cell["classes"].append("number")
        elif _WORD.fullmatch(cell.astext()):
            cell["classes"].append("word")


def setup(app: Sphinx) -> dict[str, Any]:
    """Look at every page."""
    app.connect("doctree-read", mark_numbers)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
