"""Agents at other exploration scales: which agents have one, the trials of a tuning, tuned beside untuned agents."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dts_gym.harness.brackets import is_scale
from dts_gym.harness.experiment import AgentSpec, Experiment, base_label, label_of
from dts_gym.registry import agent_class
from dts_gym.utils.validation import listed, positive


def make_trials(experiment: Experiment, grid: Sequence[float], bracket: bool = True) -> Experiment:
    """The experiment that tries every value of the grid for every agent whose exploration is a number."""
    values = checked_grid(grid)
    trials = {
        (trial := at_exploration(spec, value)).label: trial
        for spec in experiment.agents
        if exploration_of(spec) is not None
        for value in values
    }
    noted = {"grid": list(values), "bracket": bracket}
    return replace(experiment, agents=tuple(trials.values()), role="tuning", tuning=noted)


def with_tuned(specs: Sequence[AgentSpec], best: Mapping[str, float]) -> tuple[AgentSpec, ...]:
    """The agents, each followed by its tuned version where that differs.

    Raises
    ------
    ValueError
        If another agent has the label that a tuned one gets.
    """
    listed: dict[str, AgentSpec] = {}
    given = {spec.label: spec for spec in specs}
    for spec in specs:
        listed[spec.label] = spec
        own = exploration_of(spec)
        if own is None or own == best[base_label(spec)]:
            continue
        tuned = at_exploration(spec, best[base_label(spec)])
        other = given.get(tuned.label, tuned)
        if (other.id, other.settings) != (tuned.id, tuned.settings):
            raise ValueError(f"agents must leave the label {tuned.label!r} to the tuned {spec.id}, got it for {other}")
        listed.setdefault(tuned.label, tuned)
    return tuple(listed.values())


def default_exploration(agent_id: str) -> float | None:
    """An agent's default exploration scale; None if it has no such setting, or one that is not a number."""
    cls = agent_class(agent_id)
    parameter = inspect.signature(cls).parameters.get("exploration")
    if parameter is None:
        return None
    default: Any = 1.0 if parameter.default is parameter.empty else parameter.default
    if default is None:  # the class sets the default
        default = getattr(cls, "default_exploration", None)
    return float(default) if is_scale(default) else None


def exploration_of(spec: AgentSpec) -> float | None:
    """The exploration scale of an agent, its own setting or its class's default; None if that is not a number.

    Examples
    --------
    >>> exploration_of(AgentSpec("dTS")), exploration_of(AgentSpec("dTS", {"exploration": "horizon"}))
    (1.0, None)
    """
    if "exploration" not in spec.settings:
        return default_exploration(spec.id)
    own = spec.settings["exploration"]
    return float(own) if is_scale(own) else None


def at_exploration(spec: AgentSpec, value: float) -> AgentSpec:
    """An agent at another exploration scale, with that scale in its label.

    Examples
    --------
    >>> at_exploration(AgentSpec("dTS", {"branch": 1}), 0.25).label
    'dTS (branch 1, exploration 0.25)'
    >>> at_exploration(AgentSpec("dTS", label="mine"), 0.25).label
    'mine (exploration 0.25)'
    """
    plain = {name: setting for name, setting in spec.settings.items() if name != "exploration"}
    settings = {**plain, "exploration": value}
    base = base_label(spec)
    if base != label_of(spec.id, plain):  # a label of the user's own
        return AgentSpec(spec.id, settings, base + label_of("", {"exploration": value}))
    return AgentSpec(spec.id, settings)


def checked_grid(grid: Sequence[float]) -> tuple[float, ...]:
    """Return the grid as different positive numbers; else raise ValueError."""
    expected = "different positive numbers"
    values = tuple(positive("grid", value) for value in listed("grid", grid, expected))
    if not values or len(set(values)) < len(values):
        raise ValueError(f"grid must be {expected}, got {grid!r:.200}")
    return values
