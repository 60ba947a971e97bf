"""``dts-gym reproduce``: runs experiments by their ids and writes tables, verdicts, CSV files, figures."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import tyro

from dts_gym.harness.conduct import Conduct
from dts_gym.harness.records import is_held
from dts_gym.studies import load_study, study_ids
from dts_gym.studies.findings import verdict_text, write_findings
from dts_gym.studies.study import Ask, Profile
from dts_gym.utils.workers import Backend

ALL = "all"


def run_reproduce(
    experiment: tyro.conf.Positional[str],
    profile: Profile = "quick",
    data: str | None = None,
    out: Path | None = None,
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    backend: Backend = "processes",
    workers: int = 1,
    ray_address: str | None = None,
    seeds: int | None = None,
    only: str = "",
    progress: bool = True,
) -> str:
    """Run one experiment of the paper, or all: a table, verdicts on its claims, CSV files, a figure.

    Parameters
    ----------
    experiment :
        Id of the experiment, as `dts-gym list experiments` shows it; or "all".
    profile :
        Size of the experiment: "quick" for a first look, "paper" for the setting that is reported.
    data :
        For experiments on a data set, its path or name.
    out :
        Folder for the runs, outcome.csv, verdicts.csv, outcome.txt, outcome.png and study.json (with --only
        outcome-ONLY.csv and so on); with "all", a folder for each experiment. Unless given, results/PROFILE/ID, or
        results/PROFILE.
    resume :
        Resume the runs in --out.
    backend :
        Where runs are executed: "serial", "processes" or "ray".
    workers :
        Number of runs at a time.
    ray_address :
        Address of a Ray cluster; this machine unless given.
    seeds :
        Number of runs of each agent, in place of the profile's.
    only :
        Run only the part of this name, or the parts whose names contain this text; commas separate several texts.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        The table and the verdicts; with "all" the number of verdicts, which are printed as experiments end.

    Raises
    ------
    OSError, ImportError
        If data cannot be read or downloaded, or an extra is missing; with "all" the other experiments still run.
    """
    everything = experiment == ALL
    if everything and only:
        raise ValueError(f"only must be left out with {ALL!r}, got {only!r}")
    studies = [load_study(name) for name in (study_ids() if everything else (experiment,))]
    root = Path("results") / profile if out is None else out
    failed: list[str] = []
    count = 0
    for study in studies:
        folder = root if out is not None and not everything else root / study.id
        conduct = Conduct(folder, resume, backend, workers, ray_address, progress)
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        is_held(folder, resume=resume)
        ask = Ask(profile, data if study.takes_data else None if everything else data, seeds, only)
        try:
            findings = study.run(ask, conduct)
        except (OSError, ImportError, ValueError) as error:
            for path in new:  # an experiment that could not begin leaves no folder
                with suppress(OSError):
                    path.rmdir()
            if not everything or isinstance(error, ValueError):
                raise
            failed.append(f"{study.id} ({error})")
            continue
        text = write_findings(folder, study, ask, findings)
        if not everything:
            return text
        print(verdict_text(study, findings.verdicts), flush=True)
        count += len(findings.verdicts)
    if failed:
        raise OSError(f"{len(studies) - len(failed)} experiments were run, these could not be: {'; '.join(failed)}")
    return f"{len(studies)} experiments, {count} verdicts; dts-gym report {root} makes a page of them"
