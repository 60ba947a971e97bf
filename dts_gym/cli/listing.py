"""``dts-gym list``: the environments, agents and experiments, and the settings of each."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import gymnasium as gym
import tyro

import dts_gym
from dts_gym.cli.env_options import options_text, wrapped
from dts_gym.cli.setting_texts import setting_texts, texts_of
from dts_gym.identification.rules import RULES, rule_class
from dts_gym.registry import agent_class, agent_settings, env_creator
from dts_gym.studies.claims import CLAIMS

_Listed = Literal["everything", "environments", "agents", "rules", "experiments"]  # or an id


def run_list(what: tyro.conf.Positional[str] = "everything") -> str:
    """List the environments with their options, the agents, the rules and the experiments, or describe one of them.

    Parameters
    ----------
    what :
        Kind to list: everything, environments, agents, rules or experiments; or the id of one of these.

    Returns
    -------
    str
        A line for each, with its options or settings below.

    Raises
    ------
    ValueError
        If ``what`` is neither a kind nor an id.
    """
    if what not in get_args(_Listed):
        return _one_listed(what)
    lines = []
    if what in ("everything", "environments"):
        lines.append("Environments")
        for env_id in dts_gym.env_ids():
            lines.append(f"  {env_id}: {_first_line(env_creator, env_id)}")
            with contextlib.suppress(ImportError):
                lines.append(options_text(env_id))
    if what in ("everything", "agents"):
        lines.append("Agents")
        for agent_id in dts_gym.agent_ids():
            lines.append(f"  {agent_id}: {_first_line(agent_class, agent_id)}")
            with contextlib.suppress(ImportError):
                settings = [f"{each.name}={each.default!r}" for each in agent_settings(agent_id).values()]
                lines.append("      " + (", ".join(settings) or "no settings"))
    if what in ("everything", "rules"):
        lines.append("Rules, for dts-gym identify")
        lines += [f"  {name}: {_first_line(rule_class, name)}" for name in RULES]
    if what in ("everything", "experiments"):
        lines.append("Experiments, for dts-gym reproduce")
        lines += [f"  {study_id}: {claim}" for study_id, claim in CLAIMS.items()]
    lines.append("dts-gym list NAME explains each setting.")
    return "\n".join(lines)


def _one_listed(name: str) -> str:
    """Describe one environment, agent or rule with its options, or one experiment with its claim."""
    if name in CLAIMS:
        return f"{name}: {CLAIMS[name]}"
    if name in RULES:
        parameters = inspect.signature(RULES[name]).parameters
        return _with_settings(name, rule_class, parameters.values(), texts_of(RULES[name], parameters))
    try:
        if ":" in name:  # the module registers the id
            importlib.import_module(name.rpartition(":")[0])
        if name.rpartition(":")[2] in gym.registry:
            return f"{name}: {_first_line(env_creator, name)}\n{options_text(name, described=True)}"
        texts = setting_texts(name)
    except (ValueError, ModuleNotFoundError) as error:
        raise ValueError(
            f"list must be one of {list(get_args(_Listed))}, or the id of an environment, an agent, a rule or an "
            f"experiment, got {name!r}{_near(name)}"
        ) from error
    return _with_settings(name, agent_class, agent_settings(name).values(), texts)


def _with_settings(
    name: str,
    load: Callable[[str], Any],
    settings: Iterable[inspect.Parameter],
    texts: Mapping[str, str | None],
) -> str:
    lines = [f"{name}: {_first_line(load, name)}"]
    for each in settings:
        lines += [f"      {each.name}={each.default!r}", *wrapped(texts[each.name] or "")]
    return "\n".join(lines)


def _near(name: str) -> str:
    ids = {each.lower(): each for each in (*dts_gym.env_ids(), *dts_gym.agent_ids(), *RULES, *CLAIMS)}
    close = [ids[each] for each in difflib.get_close_matches(name.lower(), ids, n=1, cutoff=0.7)]
    return f"; did you mean {close[0]}?" if close else ""


def _first_line(load: Callable[[str], Any], name: str) -> str:
    try:
        lines = (inspect.getdoc(load(name)) or "").splitlines()
        return next((line for line in lines if line and not line.startswith("#")), "")
    except ImportError as error:
        return f"not available: {error}"
