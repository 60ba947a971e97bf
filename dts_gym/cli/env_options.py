"""Options of an environment on the command line, ``--env.NAME VALUE``, read from its constructor."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, Union

import tyro

from dts_gym.cli.setting_texts import option_texts
from dts_gym.identification.settings import SETTINGS
from dts_gym.registry import env_creator
from dts_gym.utils.validation import did_you_mean


def split_env_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into the others and the environment's, which are ``--env.NAME`` with the values that follow it.

    Examples
    --------
    >>> split_env_arguments(["run", "--env", "E", "--env.num_actions", "5", "--seeds", "2"])
    (['run', '--env', 'E', '--seeds', '2'], ['--env.num-actions', '5'])
    """
    rest: list[str] = []
    ours: list[str] = []
    target = rest
    for argument in arguments:
        if argument.startswith("--"):
            target = ours if argument.startswith("--env.") else rest
        if argument.startswith("--env."):
            name, equals, value = argument.partition("=")
            argument = name.replace("_", "-") + equals + value
        target.append(argument)
    return rest, ours


def env_options(env_id: str) -> dict[str, tuple[Any, Any]]:
    """The options of an environment that the command line can set: name -> type, default (``inspect._empty`` if none).

    These are numbers, words and choices only; arrays and priors are for the Python interface. The problems of
    `dts_gym.identification` are accepted by name as environments are.
    """
    creator = SETTINGS[env_id] if env_id in SETTINGS else env_creator(env_id)
    target = creator.__init__ if inspect.isclass(creator) else creator
    hints = typing.get_type_hints(target)
    options = {}
    for name, parameter in inspect.signature(creator).parameters.items():
        kept = _settable(hints.get(name))
        if kept is not None and name not in ("render_mode", "seed"):
            options[name] = (kept, parameter.default)
    return options


def parse_env_settings(env_id: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--env.NAME VALUE`` arguments as settings of an environment.

    Raises
    ------
    ValueError
        If the environment has no such option, or an option is given twice.
    SystemExit
        If a value is not of the option's type.
    """
    options = env_options(env_id)
    flags = (argument.partition("=")[0] for argument in arguments if argument.startswith("--env."))
    given = [flag.removeprefix("--env.").replace("-", "_") for flag in flags]
    for name in given:
        if name not in options:
            valid = ", ".join(flag_of(option) for option in options) or "none whose type defines how to read a word"
            near = did_you_mean(flag_of(name), map(flag_of, options))
            raise ValueError(f"{env_id} has no option {flag_of(name)}; it has {valid}{near}")
        if given.count(name) > 1:
            raise ValueError(f"{flag_of(name)} must be given once, got {given.count(name)}")
    fields = [_field(name, kind, default) for name, (kind, default) in options.items()]
    inner = dataclasses.make_dataclass("Settings", fields, kw_only=True)
    outer = dataclasses.make_dataclass("Options", [("env", inner)])
    values = (tyro.conf.FlagConversionOff,)  # every option is followed by a value
    parsed: Any = tyro.cli(outer, prog=f"dts-gym run --env {env_id}", args=_spelled(arguments, options), config=values)
    # Only the given options: the constructor keeps its defaults for the others.
    return {name: getattr(parsed.env, name) for name in given}


def _spelled(arguments: Sequence[str], options: dict[str, tuple[Any, Any]]) -> list[str]:
    """The arguments, with True and False of boolean options as tyro reads them, whatever their case."""
    booleans = {flag_of(name) for name, (kind, _) in options.items() if kind is bool or bool in typing.get_args(kind)}
    spelled, flag = [], ""
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, word = argument.partition("=")
        else:
            equals, word = "", argument
        if flag in booleans and word.lower() in ("true", "false"):
            argument = f"{flag}={word.title()}" if equals else word.title()
        spelled.append(argument)
    return spelled


def options_text(env_id: str, *, described: bool = False) -> str:
    """An environment's options, types and defaults, a line each; ``described`` adds their descriptions."""
    texts = option_texts(env_id) if described and env_id not in SETTINGS else {}
    lines = []
    for name, (kind, default) in env_options(env_id).items():
        value = "" if default is inspect.Parameter.empty else f" = {default}"
        lines += [f"      {flag_of(name)} {_type_text(kind)}{value}", *wrapped(texts.get(name, ""))]
    return "\n".join(lines)


def wrapped(text: str) -> list[str]:
    """The lines of an option's description, to print below the option."""
    indent = " " * 10
    plain = text.replace("``", "")
    return textwrap.wrap(plain, 100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _field(name: str, kind: Any, default: Any) -> tuple[str, Any, Any]:
    required = default is inspect.Parameter.empty
    return name, kind, dataclasses.field() if required else dataclasses.field(default=default)


def _settable(hint: Any) -> Any:
    """The part of a type that command-line words can express; None if there is none."""
    if hint in (int, float, bool, str) or typing.get_origin(hint) is Literal:
        return hint
    if typing.get_origin(hint) is Sequence and typing.get_args(hint)[0] in (int, float):
        return types.GenericAlias(tuple, (typing.get_args(hint)[0], ...))
    if typing.get_origin(hint) in (Union, types.UnionType):
        members = [kept for member in typing.get_args(hint) if (kept := _settable(member)) is not None]
        if members:
            optional = [types.NoneType] if types.NoneType in typing.get_args(hint) else []
            return Union[(*members, *optional)]
    return None


def _type_text(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " | ".join(map(str, typing.get_args(kind)))
    members = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return f"{_type_text(members[0])} ..."
    if members:
        return " | ".join(map(_type_text, members))
    return "None" if kind is types.NoneType else str(kind.__name__)


def flag_of(name: str) -> str:
    """The flag that sets an option."""
    return f"--env.{name.replace('_', '-')}"
