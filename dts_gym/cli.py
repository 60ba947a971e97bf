"""The command line: ``dts-gym list``, ``run``, ``tune``, ``plot`` and ``bench``."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import re
import shlex
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

import gymnasium as gym
import tyro

import dts_gym
from dts_gym.figures import regret_figure
from dts_gym.records import load_records
from dts_gym.registry import agent_class
from dts_gym.report import Comparison, table
from dts_gym.runner import compare, env_creator
from dts_gym.tuning import GRID, choose, tune, tuning_table


@dataclass(frozen=True)
class _Experiment:
    env: str = "DiffusionBandit-v0"
    """Id of the environment; its own options are --env.NAME, and --env.help lists them."""
    agents: tuple[str, ...] = ("dTS", "LinTS", "LinUCB", "HierTS")
    """Ids of agents, with settings as in dTS:exploration=0.3,branch=1."""
    seeds: int = 10
    """Runs an agent; run s is the same instance for every agent."""
    rounds: int | None = None
    """Rounds of a run; all of the environment's horizon unless given."""
    out: Path | None = None
    """New folder for records, table and figure; one under results/ unless given."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the runs in --out."""
    workers: int = 1
    """Processes."""
    data: str | None = None
    """Where the environment's data set lies; short for --env.data."""
    redraw_prior: tyro.conf.FlagCreatePairsOff[bool] = False
    """Draw a prior for each seed, not one for all."""
    grid: tuple[float, ...] = GRID
    """Exploration scales that tuning tries."""
    progress: bool = True
    """Show a bar on stderr."""


@dataclass(frozen=True)
class Run(_Experiment):
    """Compare agents on the same instances: a table, a figure, records."""

    tune: tyro.conf.FlagCreatePairsOff[bool] = False
    """Report every agent also at its best exploration scale, found on other seeds."""
    tuning_seeds: int = 5
    """Runs an agent and value of the grid, with --tune."""


@dataclass(frozen=True)
class Tune(_Experiment):
    """Find every agent's best exploration scale."""


@dataclass(frozen=True)
class Plot:
    """Draw the table and the figure of a folder of records again."""

    folder: tyro.conf.Positional[Path]
    """The --out of run or tune."""
    figure: Path | None = None
    """The PNG to write; regret.png in the folder unless given."""


@dataclass(frozen=True)
class List:
    """Show the environments with their options, and the agents."""


@dataclass(frozen=True)
class Bench:
    """Measure what a round costs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : arguments without the program's name; the process's own if None.

    Returns
    -------
    int
        Exit status: 0, or 2 for what the user can mend (one line on stderr; ``DTS_GYM_DEBUG=1`` raises instead),
        or 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return _dispatch(arguments)
        except KeyboardInterrupt:
            print("dts-gym: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `dts-gym list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (ValueError, OSError, ImportError, gym.error.Error) as error:
            if os.environ.get("DTS_GYM_DEBUG") == "1":
                raise
            print(f"dts-gym: error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2


def _dispatch(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"dts-gym {dts_gym.__version__}")
        return 0
    if arguments[:1] == ["bench"]:
        return _bench(arguments[1:])
    rest, env_arguments = split_env_arguments(arguments)
    command = tyro.cli(
        Union[Run, Tune, Plot, List, Bench],  # noqa: UP007
        prog="dts-gym",
        description="Bayesian contextual bandits with structured priors.",
        args=rest or ["--help"],
    )
    if isinstance(command, Run | Tune):
        return _experiment(command, env_arguments, rest)
    if env_arguments:
        raise ValueError(f"{env_arguments[0]} goes with run and tune only")
    return _plot(command) if isinstance(command, Plot) else _list()


def _experiment(command: Run | Tune, env_arguments: list[str], arguments: list[str]) -> int:
    if any(argument.startswith("--env.help") for argument in env_arguments):
        print(f"{command.env}\n{_options_text(command.env)}")
        return 0
    if command.resume and command.out is None:
        raise ValueError("--resume needs --out, the folder of the records to go on with")
    if command.data is not None:
        if "data" not in env_options(command.env):
            raise ValueError(f"--data is for environments that read data, {command.env} does not")
        env_arguments = [*env_arguments, "--env.data", command.data]
    settings = parse_env_settings(command.env, env_arguments)
    out = command.out or _fresh_folder(command.env)
    asked: dict[str, Any] = {
        "num_rounds": command.rounds,
        "seeds": command.seeds,
        "env_settings": settings,
        "out": out,
        "resume": command.resume,
        "num_workers": command.workers,
        "grid": command.grid,
        "redraw_prior": command.redraw_prior,
        "progress": command.progress,
    }
    try:
        if isinstance(command, Run):
            asked |= {"tune": command.tune, "tuning_seeds": command.tuning_seeds}
            comparison = compare(command.env, command.agents, **asked)
        else:
            comparison = tune(command.env, command.agents, **asked).comparison
    except KeyboardInterrupt:
        print(
            f"dts-gym: interrupted; finished runs are kept, go on with: {_again(arguments, env_arguments, out)}",
            file=sys.stderr,
        )
        return 130
    _show(comparison, out, out / "regret.png")
    return 0


def _plot(command: Plot) -> int:
    _show(load_records(command.folder), command.folder, command.figure or command.folder / "regret.png")
    return 0


def _show(comparison: Comparison, folder: Path, figure: Path) -> None:
    """Print the tables, draw the figure, say where things are."""
    tuned = comparison if comparison.experiment.role == "tuning" else comparison.tuning
    if tuned is not None and tuned.runs:
        print(tuning_table(choose(tuned)))
    if tuned is not comparison:
        print(table(comparison))
    if comparison.runs:
        regret_figure(comparison, figure)
        print(f"figure:  {figure}")
    print(f"records: {folder}")


def _list() -> int:
    print("Environments")
    for env_id in dts_gym.env_ids():
        print(f"  {env_id}: {_first_line(env_creator, env_id)}")
        with contextlib.suppress(ImportError):
            print(_options_text(env_id))
    print("Agents")
    for agent_id in dts_gym.agent_ids():
        print(f"  {agent_id}: {_first_line(agent_class, agent_id)}")
    return 0


def _bench(arguments: list[str]) -> int:
    from dts_gym.bench import run_bench

    result = tyro.cli(run_bench, prog="dts-gym bench", args=arguments)
    if isinstance(result, str):
        print(result)
    return result if isinstance(result, int) else 0


def split_env_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part arguments into the others and the environment's, ``--env.NAME`` with the values that follow it.

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
    """What the command line can set of an environment: name -> type, default (``inspect._empty`` if none).

    Numbers, words and choices only; arrays and priors are for the Python interface.
    """
    creator = env_creator(env_id)
    target = creator.__init__ if inspect.isclass(creator) else creator
    hints = typing.get_type_hints(target)
    options = {}
    for name, parameter in inspect.signature(creator).parameters.items():
        kept = _settable(hints.get(name))
        if kept is not None and name != "render_mode":
            options[name] = (kept, parameter.default)
    return options


def parse_env_settings(env_id: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--env.NAME VALUE`` arguments as settings of an environment.

    Raises
    ------
    ValueError
        If the environment has no such option, or it is given twice.
    SystemExit
        If a value is not of the option's type.
    """
    options = env_options(env_id)
    flags = (argument.partition("=")[0] for argument in arguments if argument.startswith("--env."))
    given = [flag.removeprefix("--env.").replace("-", "_") for flag in flags]
    for name in given:
        if name not in options:
            valid = ", ".join(_flag(option) for option in options)
            raise ValueError(f"{env_id} has no option {_flag(name)}; it has {valid}")
        if given.count(name) > 1:
            raise ValueError(f"{_flag(name)} must be given once, got {given.count(name)}")
    fields = [_field(name, kind, default) for name, (kind, default) in options.items()]
    inner = dataclasses.make_dataclass("Settings", fields, kw_only=True)
    outer = dataclasses.make_dataclass("Options", [("env", inner)])
    values = (tyro.conf.FlagConversionOff,)  # every option takes a value
    parsed: Any = tyro.cli(outer, prog=f"dts-gym run --env {env_id}", args=list(arguments), config=values)
    # Only the given ones: what is not said stays the constructor's business.
    return {name: getattr(parsed.env, name) for name in given}


def _field(name: str, kind: Any, default: Any) -> tuple[str, Any, Any]:
    required = default is inspect.Parameter.empty
    return name, kind, dataclasses.field() if required else dataclasses.field(default=default)


def _settable(hint: Any) -> Any:
    """The part of a type that a word on the command line can be; None if there is none."""
    if hint in (int, float, bool, str) or typing.get_origin(hint) is Literal:
        return hint
    if typing.get_origin(hint) in (Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if _settable(member) is not None]
        if members:
            optional = [types.NoneType] if types.NoneType in typing.get_args(hint) else []
            return Union[(*members, *optional)]
    return None


def _options_text(env_id: str) -> str:
    lines = []
    for name, (kind, default) in env_options(env_id).items():
        lines.append(
            f"      {_flag(name)} {_type_text(kind)}" + ("" if default is inspect.Parameter.empty else f" = {default}")
        )
    return "\n".join(lines)


def _type_text(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " | ".join(map(str, typing.get_args(kind)))
    members = typing.get_args(kind) or (kind,)
    return " | ".join("None" if member is types.NoneType else member.__name__ for member in members)


def _flag(name: str) -> str:
    return f"--env.{name.replace('_', '-')}"


def _first_line(load: Callable[[str], Any], name: str) -> str:
    try:
        return (inspect.getdoc(load(name)) or "").partition("\n")[0]
    except ImportError as error:
        return f"not available: {error}"


def _fresh_folder(env_id: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", env_id)
    number = 1
    while (path := Path("results") / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def _again(arguments: list[str], env_arguments: list[str], out: Path) -> str:
    given = [a.partition("=")[0] for a in arguments]
    extra = [*([] if "--out" in given else ["--out", str(out)]), *([] if "--resume" in given else ["--resume"])]
    return shlex.join(["dts-gym", *arguments, *env_arguments, *extra])


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"dts-gym: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
