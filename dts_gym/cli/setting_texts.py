"""Descriptions of the settings of agents and rules, and of environments' options, read from their docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable

from docstring_parser.numpydoc import parse

from dts_gym.registry import agent_class, agent_settings, env_creator


def setting_texts(agent_id: str) -> dict[str, str | None]:
    """Every setting that an agent accepts, with its description in a docstring, or None where there is none.

    A description comes from the docstring of the class, of its bases, or of the class of `dts_gym.agents` that these
    refer to ("as in `LinTS`", "The parameters are those of `LinTS`.").

    Examples
    --------
    >>> setting_texts("LinTS")["prior_mean"]
    "(d,) mean of every action's prior, or (K, d), one for each action; zeros if None."
    """
    return texts_of(agent_class(agent_id), agent_settings(agent_id))


def texts_of(cls: type, names: Iterable[str]) -> dict[str, str | None]:
    """The descriptions of some arguments of a class, in its docstring or those that it refers to."""
    return {name: _described(cls, name, set()) for name in names}


def option_texts(env_id: str) -> dict[str, str]:
    """The arguments of an environment that its docstring describes, as Gymnasium's do: "- ``name=default``: text".

    Examples
    --------
    >>> option_texts("DiffusionBandit-v0")["num_actions"]
    'K, the number of actions.'
    """
    doc = inspect.getdoc(env_creator(env_id)) or ""
    found = re.findall(r"^- ``(\w+)(?:=[^`]*)?``: (.*(?:\n  .*)*)", doc, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _described(cls: type, name: str, seen: set[type]) -> str | None:
    """The description of a parameter in the docstring of a class or a base; "as in `Other`" is looked up there."""
    if cls in seen:
        return None
    seen.add(cls)
    for base in inspect.getmro(cls):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        for parameter in parse(doc).params:
            if name in re.split(r"\s*,\s*", parameter.arg_name):
                text = " ".join(f"{parameter.type_name or ''} {parameter.description or ''}".split())
                other = re.match(r"as (?:in )?`(\w+)`", text)
                found = text if other is None else _of_another(other[1], name, seen)
                if found is not None:
                    return found
        for other in re.findall(r"[Pp]arameters[a-z ]* (?:as|are those of) `(\w+)`", doc):
            found = _of_another(other, name, seen)
            if found is not None:
                return found
    return None


def _of_another(cls: str, name: str, seen: set[type]) -> str | None:
    found = getattr(importlib.import_module("dts_gym.agents"), cls, None)
    return None if found is None else _described(found, name, seen)
