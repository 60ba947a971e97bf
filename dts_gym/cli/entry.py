"""The command line: ``dts-gym list``, ``run``, ``tune``, ``sweep``, ``plot``, ``pretrain``, ``bench`` and others."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import tyro

import dts_gym
from dts_gym.cli.commands import COMMANDS, Plot, PosteriorError, Run, Tune
from dts_gym.cli.env_options import env_options, options_text, parse_env_settings, split_env_arguments
from dts_gym.cli.listing import listed
from dts_gym.diagnostics.error_report import error_figure, error_table, verdict
from dts_gym.diagnostics.posterior_error import posterior_error
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import Comparison, table
from dts_gym.harness.figures import regret_figure
from dts_gym.harness.records import load_records
from dts_gym.harness.tuning import choose, tune, tuning_table
from dts_gym.utils.archives import write_atomically

# Commands whose options are those of a function, which gives the text to print.
_FUNCTIONS = {
    "sweep": "dts_gym.cli.sweep:run_sweep_file",
    "pretrain": "dts_gym.cli.pretrain:run_pretrain",
    "calibration": "dts_gym.cli.calibration:run_calibration",
    "bench": "dts_gym.bench.rounds:run_bench",
    "bench-chains": "dts_gym.bench.chain_rounds:run_chain_bench",
    "bench-envs": "dts_gym.bench.env_steps:run_env_bench",
    "reproduce": "dts_gym.cli.reproduce:run_reproduce",
    "report": "dts_gym.cli.report:run_report",
}


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
        except (ValueError, OSError, ImportError, MemoryError, gym.error.Error) as error:
            if os.environ.get("DTS_GYM_DEBUG") == "1":
                raise
            print(f"dts-gym: error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2


def _dispatch(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"dts-gym {dts_gym.__version__}")
        return 0
    if arguments and arguments[0] in _FUNCTIONS:
        return _call(arguments[0], arguments[1:])
    rest, env_arguments = split_env_arguments(arguments)
    command = tyro.cli(
        COMMANDS,
        prog="dts-gym",
        description="Bayesian contextual bandits with structured priors.",
        args=rest or ["--help"],
    )
    if isinstance(command, Run | Tune):
        return _experiment(command, env_arguments, rest)
    if env_arguments:
        raise ValueError(f"{env_arguments[0]} goes with run and tune only")
    if isinstance(command, PosteriorError):
        return _posterior_error(command)
    if isinstance(command, Plot):
        return _plot(command)
    print(listed(command.what))
    return 0


def _experiment(command: Run | Tune, env_arguments: list[str], arguments: list[str]) -> int:
    if any(argument.startswith("--env.help") for argument in env_arguments):
        print(f"{command.env}\n{options_text(command.env, described=True)}")
        return 0
    if command.resume and command.out is None:
        raise ValueError("--resume needs --out, the folder of the records to go on with")
    for name, value in (("data", command.data), ("prior", command.prior)):
        if value is not None:
            if name not in env_options(command.env):
                raise ValueError(f"--{name} is for environments with such an option, {command.env} has none")
            env_arguments = [*env_arguments, f"--env.{name}", value]
    settings = parse_env_settings(command.env, env_arguments)
    out = command.out or _fresh_folder(command.env)
    asked: dict[str, Any] = {
        "num_rounds": command.rounds,
        "seeds": command.seeds,
        "env_settings": settings,
        "out": out,
        "resume": command.resume,
        "backend": command.backend,
        "num_workers": command.workers,
        "ray_address": command.ray_address,
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


def _posterior_error(command: PosteriorError) -> int:
    if command.resume and command.out is None:
        raise ValueError("--resume needs --out, the folder of the records to go on with")
    out = command.out or _fresh_folder("posterior-error")
    errors = posterior_error(
        command.problems,
        observations=command.observations,
        seeds=command.seeds,
        draws=command.draws,
        out=out,
        resume=command.resume,
        num_workers=command.workers,
        progress=command.progress,
    )
    text = f"{error_table(errors)}\n{verdict(errors)}"
    write_atomically(out / "table.txt", lambda file: file.write(text.encode()))
    error_figure(errors, out / "posterior-error.png")
    print(text)
    print(f"figure:  {out / 'posterior-error.png'}")
    print(f"records: {out}")
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


def _call(name: str, arguments: list[str]) -> int:
    module, _, function = _FUNCTIONS[name].partition(":")
    result = tyro.cli(getattr(importlib.import_module(module), function), prog=f"dts-gym {name}", args=arguments)
    print(result)
    return 0


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
