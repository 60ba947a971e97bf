"""Agents written as text: ``dTS:exploration=0.3,branch=1``."""

from __future__ import annotations

import ast
import re
from typing import Any

from dts_gym.harness.experiment import AgentSpec
from dts_gym.registry import agent_ids


def parse_agent(text: str) -> AgentSpec:
    """Read an agent written as ``ID`` or ``ID:name=value,name=value``; values are Python literals or words.

    An id may include the module that registers it, ``MODULE:ID``; the part before the colon is then not an id.

    Examples
    --------
    >>> parse_agent("dTS:exploration=0.3,branch=1").settings
    {'exploration': 0.3, 'branch': 1}
    >>> parse_agent("my.agents:MyTS:epsilon=0.1").id
    'my.agents:MyTS'
    """
    agent_id, colon, rest = text.partition(":")
    name = rest.partition(":")[0]
    if agent_id not in agent_ids() and re.fullmatch(r"[A-Za-z][\w.+-]*", name):
        agent_id, (_, colon, rest) = f"{agent_id}:{name}", rest.partition(":")
    return AgentSpec(agent_id, parse_settings("agents", text, rest) if colon else {})


def parse_settings(name: str, text: str, settings: str) -> dict[str, Any]:
    """Read settings written as ``name=value,name=value``; values are Python literals or words.

    Parameters
    ----------
    name, text : the argument and the whole text that an error names.
    settings : the part of the text after the id.

    Examples
    --------
    >>> parse_settings("agents", "dTS:branch=1", "branch=1")
    {'branch': 1}
    """
    source = f"f({settings})"
    try:
        call = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two by nesting
        call = None
    if not isinstance(call, ast.Call) or call.args or not call.keywords or any(k.arg is None for k in call.keywords):
        raise ValueError(f"{name} must be written as ID or ID:name=value,name=value, got {text!r:.200}")
    names = [str(keyword.arg) for keyword in call.keywords]
    if len(set(names)) < len(names):
        raise ValueError(f"{name} must give every setting once, got {text!r:.200}")
    values = [_literal(ast.get_source_segment(source, keyword.value) or "") for keyword in call.keywords]
    return dict(zip(names, values, strict=True))


def _literal(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return words.get(text.lower(), text)
