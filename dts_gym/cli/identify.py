"""``dts-gym identify``: rules of best-arm identification compared over budgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import tyro

from dts_gym.cli.env_options import options_text, parse_env_settings
from dts_gym.cli.folders import results_folder, resumable
from dts_gym.identification import SETTINGS, compare_identification
from dts_gym.identification.figures import budgets_figure
from dts_gym.utils.validation import did_you_mean
from dts_gym.utils.workers import Backend


def run_identification(
    env_words: Sequence[str],
    /,
    env: str = "hierarchical",
    rules: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="STR [STR ...]")] = None,
    budgets: tuple[int, ...] = (150, 300),
    seeds: int = 100,
    context: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT [FLOAT ...]")] = None,
    out: Path | None = None,
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    backend: Backend = "processes",
    workers: int = 1,
    progress: bool = True,
) -> str:
    """Compare rules of best-arm identification over budgets: a table, a figure, records.

    Parameters
    ----------
    env :
        Id of an environment, or a problem of the paper: mab, linear, hierarchical or ratings; its own options are
        --env.NAME, listed by --env.help.
    rules :
        Names of rules, as dts-gym list rules has them; settings follow a colon, with no spaces:
        TopTwoTS:leader_share=0.7. The others are compared with the first. Unless given, five rules; where contexts
        change, those of them that need not plan.
    budgets :
        Numbers of rounds; each is a run of its own.
    seeds :
        Number of runs of each rule and budget; run s is the same instance and noise for every rule.
    context :
        The numbers of the context of every round; unless given, the environment's own contexts.
    out :
        New folder for records, table and figure; one under results/ unless given.
    resume :
        Resume the runs in --out; rules, budgets and seeds may differ from before.
    backend :
        Where runs are executed; the results are the same.
    workers :
        Number of runs, or groups of runs, at a time.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        The table, and the paths of the figure and of the records.
    """
    if any(word == "--env.help" for word in env_words):
        return f"options of {env}:\n{options_text(env, described=True)}"
    try:
        settings: dict[str, Any] = parse_env_settings(env, env_words)
    except gym.error.UnregisteredEnv as error:
        near = did_you_mean(env, SETTINGS)
        raise ValueError(f"--env must be an environment or one of {list(SETTINGS)}: {error}{near}") from error
    folder = results_folder(out, resume, f"identify-{env}")
    with resumable(("--out", str(folder)), ("--resume",)):
        comparison = compare_identification(
            env,
            rules,
            budgets=budgets,
            seeds=seeds,
            env_settings=settings,
            context=context,
            out=folder,
            resume=resume,
            backend=backend,
            num_workers=workers,
            progress=progress,
        )
    figure = folder / "identification.png"
    budgets_figure(comparison, figure)
    (folder / "table.csv").write_text(comparison.table("csv"))
    return f"{comparison}\nfigure:  {figure}\nrecords: {folder}"
