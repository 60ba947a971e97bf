"""The command line: a table of the commands, and how one of them is called.

A command is imported when it is called, so that ``dts-gym --help`` and ``--version`` cost no more than the package.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym

import dts_gym
from dts_gym.cli.folders import Interrupted


class Command(NamedTuple):
    """A command of the command line.

    Attributes
    ----------
    function : "module:function"; its parameters are the options, and it returns the text to print.
    summary : one line for the list of commands.
    takes_env : whether the command accepts the options of an environment; the function then receives their words as its
        first argument.
    """

    function: str
    summary: str
    takes_env: bool = False


COMMANDS = {
    "run": Command(
        "dts_gym.cli.run:run_comparison", "Compare agents on the same instances: a table, a figure, records.", True
    ),
    "tune": Command("dts_gym.cli.run:run_tuning", "Find every agent's best exploration scale.", True),
    "identify": Command(
        "dts_gym.cli.identify:run_identification",
        "Compare rules of best-arm identification over budgets: a table, a figure, records.",
        True,
    ),
    "sweep": Command(
        "dts_gym.cli.sweep:run_sweep_file",
        "Run a file of experiments: environments x agents x seeds x settings.",
    ),
    "plot": Command("dts_gym.cli.run:run_plot", "Print the tables and draw the figure of a folder of records again."),
    "aggregate": Command(
        "dts_gym.cli.aggregate:run_aggregate", "Put several comparisons together, on regret relative to a reference's."
    ),
    "pretrain": Command(
        "dts_gym.cli.pretrain:run_pretrain",
        "Fit a diffusion prior to parameter vectors or ratings: a file for --prior.",
    ),
    "offpolicy": Command(
        "dts_gym.cli.offpolicy:run_offpolicy",
        "Judge a policy by a log, or learn one from it: a table, warnings, a figure.",
    ),
    "posterior-error": Command(
        "dts_gym.cli.posterior_error:run_posterior_error",
        "Compare posterior draws with the true posterior: a table, a verdict, a figure, records.",
    ),
    "calibration": Command(
        "dts_gym.cli.calibration:run_calibration",
        "Test the posteriors of dTS by simulation-based calibration.",
    ),
    "list": Command(
        "dts_gym.cli.listing:run_list",
        "List the environments with their options, the agents and the experiments, or describe one of them.",
    ),
    "bench": Command("dts_gym.bench.rounds:run_bench", "Measure the time of a round."),
    "bench-chains": Command(
        "dts_gym.bench.chain_rounds:run_chain_bench",
        "Measure the time of a round on chains of perceptrons, and with rewards that are not Gaussian.",
    ),
    "bench-envs": Command(
        "dts_gym.bench.env_steps:run_env_bench",
        "Measure the time of a step of a vector environment against single environments.",
    ),
    "bench-together": Command(
        "dts_gym.bench.together:run_together_bench",
        "Measure the time of runs that advance together against single runs.",
    ),
    "bench-items": Command(
        "dts_gym.bench.item_rounds:run_item_bench",
        "Measure the time of a round, and of a new item, on items that share effects.",
    ),
    "reproduce": Command(
        "dts_gym.cli.reproduce:run_reproduce",
        "Run one experiment of the paper, or all: a table, verdicts on its claims, CSV files, a figure.",
    ),
    "report": Command("dts_gym.cli.report:run_report", "Put all results of reproduce on one HTML page."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : arguments without the program's name; the process's own if None.

    Returns
    -------
    int
        Exit status: 0, or 2 for an error that the user can correct (one line on stderr; ``DTS_GYM_DEBUG=1`` raises it
        instead), or 130 when interrupted.

    Raises
    ------
    SystemExit
        With status 0 after the help of a command, with 2 where an option is unknown or its value has the wrong type.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            print(_answer(arguments))
            return 0
        except Interrupted as stop:
            again = stop.command(arguments)
            print(f"dts-gym: interrupted; finished runs are kept, go on with: {again}", file=sys.stderr)
            return 130
        except KeyboardInterrupt:
            print("dts-gym: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:  # `dts-gym list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (ValueError, OSError, ImportError, MemoryError, OverflowError, gym.error.Error) as error:
            if os.environ.get("DTS_GYM_DEBUG") == "1":
                raise
            print(f"dts-gym: error: {' '.join(_said(error).split())}", file=sys.stderr)
            return 2


def function_of(name: str) -> Callable[..., str]:
    """Import and return the function of a command; ValueError if there is no such command."""
    if name not in COMMANDS:
        from dts_gym.utils.validation import did_you_mean

        raise ValueError(
            f"the command must be one of {', '.join(COMMANDS)}, got {name!r}{did_you_mean(name, COMMANDS)}"
        )
    module, _, function = COMMANDS[name].function.partition(":")
    found: Callable[..., str] = getattr(importlib.import_module(module), function)
    return found


def _answer(arguments: list[str]) -> str:
    """Run the command and return the text to print at the end; a command may print other text earlier."""
    if not arguments or arguments[0] in ("-h", "--help"):
        return _help()
    if arguments == ["--version"]:
        return f"dts-gym {dts_gym.__version__}"
    name, *words = arguments
    function = function_of(name)
    if COMMANDS[name].takes_env:
        words = words or ["--help"]  # nobody means forty runs of 5000 rounds by a bare command
        from dts_gym.cli.env_options import split_env_arguments

        words, env_words = split_env_arguments(words)
        function = functools.partial(function, env_words)
    elif of_env := [word for word in words if word.startswith("--env.")]:
        raise ValueError(f"{of_env[0]} goes with run, tune and identify only")
    import tyro

    return str(tyro.cli(function, prog=f"dts-gym {name}", args=words))


def _said(error: BaseException) -> str:
    """An error's message; without a number where the system names a file, and never empty."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {str(error.filename)!r}"
    return str(error) or ("there is not enough memory" if isinstance(error, MemoryError) else type(error).__name__)


def _help() -> str:
    width = shutil.get_terminal_size().columns
    column = max(map(len, COMMANDS)) + 4
    lines = [
        "usage: dts-gym COMMAND [OPTIONS]",
        "       dts-gym --help | --version",
        "",
        "Bayesian contextual bandits with structured priors.",
        "",
        "commands:",
    ]
    for name, command in COMMANDS.items():
        start = f"  {name}".ljust(column)
        lines.append(textwrap.fill(command.summary, width, initial_indent=start, subsequent_indent=" " * column))
    return "\n".join([*lines, "", "dts-gym COMMAND --help shows the options of a command."])


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"dts-gym: warning: {message}", file=sys.stderr)
