"""``dts-gym reproduce``: experiments from their ids to tables, verdicts, CSVs, figures."""

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
    """Run an experiment of the paper, or all: table, verdicts on the deck's claims, CSV, figure.

    Parameters
    ----------
    experiment :
        Its id, which `dts-gym list experiments` shows; or "all".
    profile :
        "quick" for a look, "paper" for the setting that is reported.
    data :
        Of experiments on a data set, where it lies or its name.
    out :
        Folder for the runs, outcome.csv, verdicts.csv, outcome.txt, outcome.png and study.json (with --only
        outcome-ONLY.csv and so on); of "all" a folder each. Unless given, results/PROFILE/ID, or results/PROFILE.
    resume :
        Go on with the runs in --out.
    backend :
        Where runs are done: "serial", "processes" or "ray".
    workers :
        Runs at a time.
    ray_address :
        Of a Ray cluster; this machine unless given.
    seeds :
        Runs an agent, in place of the profile's number.
    only :
        Run the part of this name alone, or those whose names hold this text; several texts between commas.
    progress :
        Show a bar on stderr.

    Returns
    -------
    str
        The table and the verdicts; of "all" the number of verdicts, which are printed as experiments end.

    Raises
    ------
    OSError, ImportError
        Where data cannot be had or an extra is missing; with "all" the other experiments are run all the same.
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
            for path in new:  # no folder stays of what could not begin
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
