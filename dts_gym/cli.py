"""The command line: ``dts-gym list``, ``run``, ``tune``, ``sweep``, ``plot``, ``pretrain``, ``bench`` and others."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import tyro

import dts_gym
from dts_gym.archives import write_atomically
from dts_gym.comparing import compare
from dts_gym.env_options import env_options, options_text, parse_env_settings, split_env_arguments, wrapped
from dts_gym.error_problems import PROBLEMS
from dts_gym.error_report import error_figure, error_table, verdict
from dts_gym.experiment import Comparison
from dts_gym.experiments import load_study, study_ids
from dts_gym.figures import regret_figure
from dts_gym.jobs import env_creator
from dts_gym.pool import Backend
from dts_gym.posterior_error import OBSERVATIONS, posterior_error
from dts_gym.records import load_records
from dts_gym.registry import agent_class, agent_settings
from dts_gym.report import table
from dts_gym.setting_texts import setting_texts
from dts_gym.tuning import GRID, choose, tune, tuning_table

Listed = Literal["everything", "environments", "agents", "experiments"]  # or an id


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
    """Go on with the runs in --out; there may be more --seeds and --agents than before."""
    backend: Backend = "processes"
    """Where runs are done; the results are the same."""
    workers: int = 1
    """Runs at a time."""
    ray_address: str | None = None
    """Of a running Ray cluster, with --backend ray; Ray is started on this machine unless given."""
    data: str | None = None
    """Where the environment's data set lies; short for --env.data."""
    prior: str | None = None
    """A file that `dts-gym pretrain` or Prior.save wrote; short for --env.prior."""
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
class Sweep:
    """Run a file of experiments: environments x agents x seeds x settings."""


@dataclass(frozen=True)
class Plot:
    """Draw the table and the figure of a folder of records again."""

    folder: tyro.conf.Positional[Path]
    """The --out of run or tune."""
    figure: Path | None = None
    """The PNG to write; regret.png in the folder unless given."""


@dataclass(frozen=True)
class PosteriorError:
    """Hold posterior draws against the truth: a table, a verdict, a figure, records."""

    problems: tuple[str, ...] = tuple(PROBLEMS)
    """Laws of histories: linear, mlp, bernoulli, poisson, mlp-bernoulli; with torch also cross, rays, triangles, swirl,
    H, corners (or planar, all six) and swiss-roll, to which a prior is fitted first."""
    observations: tuple[int, ...] = OBSERVATIONS
    """Numbers of observations at which draws are looked at."""
    seeds: int = 5
    """Histories a problem."""
    draws: int = 500
    """Draws of a method's posterior; the truth has twice as many."""
    out: Path | None = None
    """New folder for records, table and figure; one under results/ unless given."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the histories in --out; there may be more --seeds than before."""
    workers: int = 1
    """Processes."""
    progress: bool = True
    """Show a bar on stderr."""


@dataclass(frozen=True)
class List:
    """Show the environments with their options, the agents, the experiments; or one of them, with all that it takes."""

    what: tyro.conf.Positional[str] = "everything"
    """Everything, environments, agents or experiments; or the id of one."""


@dataclass(frozen=True)
class Pretrain:
    """Fit a diffusion prior to parameter vectors or ratings: a file for --prior."""


@dataclass(frozen=True)
class Calibration:
    """Test the posteriors of dTS by simulation-based calibration."""


@dataclass(frozen=True)
class Bench:
    """Measure what a round costs."""


@dataclass(frozen=True)
class BenchChains:
    """Measure what a round costs on chains of perceptrons, and with expanded rewards."""


@dataclass(frozen=True)
class BenchEnvs:
    """Measure what a step of a vector environment costs, against single ones."""


@dataclass(frozen=True)
class Reproduce:
    """Run an experiment of the paper, or all: table, verdicts on the deck's claims, CSV, figure."""


@dataclass(frozen=True)
class Report:
    """Put all that reproduce found on one HTML page."""


_COMMANDS: Any = (
    Run
    | Tune
    | Sweep
    | Plot
    | Pretrain
    | PosteriorError
    | Calibration
    | List
    | Bench
    | BenchChains
    | BenchEnvs
    | Reproduce
    | Report
)

# Commands whose options are those of a function, which gives the text to print.
_FUNCTIONS = {
    "sweep": "dts_gym.sweep_command:run_sweep_file",
    "pretrain": "dts_gym.pretrain_command:run_pretrain",
    "calibration": "dts_gym.calibration:run_calibration",
    "bench": "dts_gym.bench:run_bench",
    "bench-chains": "dts_gym.bench_chains:run_chain_bench",
    "bench-envs": "dts_gym.bench_envs:run_env_bench",
    "reproduce": "dts_gym.experiments.command:run_reproduce",
    "report": "dts_gym.experiments.page:run_report",
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
        _COMMANDS,
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
    return _plot(command) if isinstance(command, Plot) else _list(command.what)


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


def _list(what: str) -> int:
    if what not in get_args(Listed):
        print(_one_listed(what))
        return 0
    if what in ("everything", "environments"):
        print("Environments")
        for env_id in dts_gym.env_ids():
            print(f"  {env_id}: {_first_line(env_creator, env_id)}")
            with contextlib.suppress(ImportError):
                print(options_text(env_id))
    if what in ("everything", "agents"):
        print("Agents")
        for agent_id in dts_gym.agent_ids():
            print(f"  {agent_id}: {_first_line(agent_class, agent_id)}")
            with contextlib.suppress(ImportError):
                settings = agent_settings(agent_id).values()
                print("      " + (", ".join(f"{each.name}={each.default!r}" for each in settings) or "no settings"))
    if what in ("everything", "experiments"):
        print("Experiments, for dts-gym reproduce")
        for study_id in study_ids():
            print(f"  {study_id}: {load_study(study_id).claim}")
    return 0


def _one_listed(name: str) -> str:
    """An environment or an agent with its options, an experiment with its claim."""
    if name in study_ids():
        return f"{name}: {load_study(name).claim}"
    try:
        if ":" in name:  # the module registers it
            importlib.import_module(name.rpartition(":")[0])
        if name.rpartition(":")[2] in gym.registry:
            return f"{name}: {_first_line(env_creator, name)}\n{options_text(name, described=True)}"
        cls = agent_class(name)
    except (ValueError, ModuleNotFoundError) as error:
        raise ValueError(
            f"list must be one of {list(get_args(Listed))}, or the id of an environment, an agent or an experiment, "
            f"got {name!r}"
        ) from error
    lines = [f"{name}: {_first_line(lambda _: cls, name)}"]
    texts = setting_texts(name)
    for each in agent_settings(name).values():
        lines += [f"      {each.name}={each.default!r}", *wrapped(texts[each.name] or "")]
    return "\n".join(lines)


def _call(name: str, arguments: list[str]) -> int:
    module, _, function = _FUNCTIONS[name].partition(":")
    result = tyro.cli(getattr(importlib.import_module(module), function), prog=f"dts-gym {name}", args=arguments)
    print(result)
    return 0


def _first_line(load: Callable[[str], Any], name: str) -> str:
    try:
        lines = (inspect.getdoc(load(name)) or "").splitlines()
        return next((line for line in lines if line and not line.startswith("#")), "")
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
