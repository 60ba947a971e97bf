"""``dts-gym offpolicy``: judges a policy by a log, or learns one from it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from dts_gym.cli.folders import results_folder
from dts_gym.offpolicy import BanditLog, OffPolicyWarning, evaluate, learn, load_policy
from dts_gym.offpolicy.estimators import Estimator
from dts_gym.offpolicy.learning import LEARNERS
from dts_gym.utils.archives import write_atomically

Task = Literal["evaluate", "learn"]
Reward = Literal["gaussian", "bernoulli", "poisson"]


def run_offpolicy(
    task: tyro.conf.Positional[Task],
    log: tyro.conf.Positional[Path],
    policy: str = "",
    estimators: tuple[Estimator, ...] = (),
    prior: Path | None = None,
    reward: Reward | None = None,
    noise_std: float | None = None,
    level: float = 0.95,
    reward_range: tuple[float, float] | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> str:
    """Judge a policy by a log (evaluate), or learn one from it (learn).

    Parameters
    ----------
    task :
        evaluate: the value of --policy with intervals and warnings. learn: a policy by the learner that --policy names,
        its value, and a file of it.
    log :
        A log: a table .csv or .parquet with columns context_0, context_1, ..., action (numbered from 0), reward and, if
        known, propensity; a file .npz that BanditLog.save wrote; the folder that a run wrote its rounds to; a folder of
        the Open Bandit data set; or a text file of Vowpal Wabbit (.vw, .txt or .dat).
    policy :
        evaluate: a file that learn wrote (.npz), an array (n, K) of probabilities (.npy), or uniform, which is used
        unless given. learn: sDM (used unless given) or LCB, which need --prior, or IPS, ES, LS or LS-LIN, which need
        propensities.
    estimators :
        Names of estimators: IPS, CIPS, SNIPS, ES, IX, LS, DM, sDM, DR, SNDR, MIPS. Unless given: those that the log
        allows of IPS, SNIPS, DM and DR, and sDM with a prior.
    prior :
        File of a prior that dts-gym pretrain or Prior.save wrote, for sDM and LCB.
    reward :
        Family of the rewards; what the log says, or gaussian, unless given.
    noise_std :
        Standard deviation of Gaussian rewards; what the log says, or 1, unless given.
    level :
        Probability of the intervals.
    reward_range :
        Least and largest reward that are possible, for bounds on both sides.
    seed :
        Seed for folds and draws.
    out :
        New folder for table, figure and policy; one under results/ unless given.

    Returns
    -------
    str
        The table, and where the files are.
    """
    rounds = read_log(log)
    folder = results_folder(out, False, f"offpolicy-{task}-{log.stem}")
    if folder.exists():
        raise ValueError(f"--out must be a new folder, got {str(folder)!r}")
    settings: dict[str, Any] = {"reward": reward, "noise_std": noise_std, "level": level, "seed": seed}
    if task == "learn":
        learner: Any = policy or "sDM"
        judged: Any = learn(rounds, learner, prior, **settings)
    else:
        judged = read_policy(policy or "uniform", rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OffPolicyWarning)  # the table shows them
        table = evaluate(rounds, judged, estimators or None, prior, reward_range=reward_range, **settings)
    folder.mkdir(parents=True)
    write_atomically(folder / "table.txt", lambda file: file.write(f"{table}\n".encode()))
    table.figure(folder / "values.png")
    lines = [str(rounds), str(judged) if task == "learn" else "", str(table), f"figure: {folder / 'values.png'}"]
    if task == "learn":
        judged.save(folder / "policy.npz")
        lines.append(f"policy: {folder / 'policy.npz'} (dts-gym offpolicy evaluate LOG --policy FILE)")
    return "\n".join(line for line in lines if line)


def read_log(path: Path) -> BanditLog:
    """The log at a path, in any of the forms that `run_offpolicy` accepts."""
    if path.is_dir() and not any(path.glob("rounds-*.npz")) and any(path.glob("*.csv")):
        return BanditLog.read_obd(path)
    if path.suffix in (".vw", ".txt", ".dat"):
        return BanditLog.read_vw(path)
    return BanditLog.load(path)


def read_policy(text: str, log: BanditLog) -> Any:
    """The policy that ``--policy`` names."""
    if text == "uniform":
        if log.masks is not None:
            return log.masks / log.masks.sum(axis=1, keepdims=True)
        return np.full(log.num_actions, 1.0 / log.num_actions)
    if text.endswith(".npy"):
        try:
            return np.load(text, allow_pickle=False)
        except (EOFError, ValueError) as error:
            raise ValueError(f"--policy must be an array of probabilities, got {text!r}, which holds none") from error
    if text.endswith(".npz"):
        return load_policy(text)
    if text in LEARNERS:
        raise ValueError(f"--policy must be a file for evaluate, got the learner {text!r}: dts-gym offpolicy learn")
    raise ValueError(f"--policy must be uniform, or a file .npz or .npy, got {text!r}")
