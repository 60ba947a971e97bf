"""Handwritten digits as a bandit, logged by a weak classifier: tightness of bounds, and guaranteed improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from scipy.special import softmax

from dts_gym.offpolicy import BanditLog, learn
from dts_gym.offpolicy.intervals import bernstein_interval, implicit_interval, smoothed_interval
from dts_gym.problem.rewards import BernoulliReward
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.log_study import Contrast, LogCell, LogStudy
from dts_gym.studies.study import Ask
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream


class Digits(NamedTuple):
    """A log, its examples' numbers; all examples' contexts, the log's probabilities, labels; the classifier (K, d)."""

    log: BanditLog
    rows: IntArray
    contexts: Array
    probabilities: Array
    labels: IntArray
    weak: Array


def ridge_weights(contexts: Array, labels: IntArray, num_classes: int, rows: IntArray) -> Array:
    """Weights (K, d) of a linear classifier that was fitted to some of the examples."""
    x, targets = contexts[rows], np.eye(num_classes)[labels[rows]]
    return np.asarray(np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ targets).T)


def logged_digits(settings: Mapping[str, Any], seed: int) -> Digits:
    """A log of a weak classifier, and what made it."""
    env: Any = gym.make("ClassificationBandit-v0", data=settings["data"], dim=settings["dim"]).unwrapped
    contexts, labels, K = env.contexts.astype(np.float64), env.labels, env.problem.num_actions
    rng = stream(seed, "history")
    few = rng.permutation(len(labels))[: int(settings["known"] * len(labels))]
    weak = ridge_weights(contexts, labels, K, few)
    p = 0.9 * softmax(settings["sharpness"] * (contexts @ weak.T), axis=1) + 0.1 / K
    rows = rng.integers(len(labels), size=int(settings["num_rounds"]))
    actions = (p[rows].cumsum(axis=1) > rng.random((len(rows), 1))).argmax(axis=1)
    rewards = (actions == labels[rows]).astype(np.float64)
    log = BanditLog(contexts[rows], actions, rewards, p[rows, actions], K, reward=BernoulliReward(), adapted=False)
    return Digits(log, rows, contexts, p, labels, weak)


def measure_tightness(settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """How far lower bounds are below a fixed policy's value, relative to it: ``|bound / value - 1|``."""
    log, rows, contexts, _, labels, _ = logged_digits(settings, seed)
    rng = stream(seed, "split")
    others = rng.permutation(len(labels))[: len(labels) // 4]
    pi = softmax(12.0 * (contexts @ ridge_weights(contexts, labels, log.num_actions, others).T), axis=1)
    value = float(pi[np.arange(len(labels)), labels].mean())
    played = pi[rows, log.actions]
    propensities = log.played_propensities
    assert propensities is not None
    n, lam, w = len(log), 1.0 / math.sqrt(len(log)), played / propensities
    clipped = np.minimum(w, math.sqrt(n)) * log.rewards
    bounds = {
        "LS": smoothed_interval(w, log.rewards, lam, 0.95, upper=False)[1],
        "IX": implicit_interval(played / (propensities + lam / 2), log.rewards, lam, 0.95, upper=False)[1],
        "clipped": bernstein_interval(clipped, 0.9, math.sqrt(n))[0],  # one side at 95 %
    }
    out = {f"{name}, tightness": abs(max(bound, 0.0) / value - 1.0) for name, bound in bounds.items()}
    return out | {f"{name}, above the value": float(bound > value) for name, bound in bounds.items()}


def measure_learners(settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Values of learned policies and the guarantee of LS-LIN, relative to the logging policy's value, less 1."""
    log, _, contexts, p, labels, weak = logged_digits(settings, seed)
    rows = np.arange(len(labels))
    logging = float(p[rows, labels].mean())
    out = {"logging, value": logging}
    for learner in ("IPS", "ES", "LS", "LS-LIN"):
        asked: dict[str, Any] = {"max_steps": int(settings["max_steps"]), "noise": float(settings["noise"])}
        policy = learn(log, learner, reference=settings["reference"] * weak, **asked)
        value = float(policy.action_probabilities(contexts)[rows, labels].mean())
        out[f"{learner}, improvement"] = value / logging - 1.0
        if policy.guarantee is not None:
            out["LS-LIN, guaranteed improvement"] = policy.guarantee / logging - 1.0
            out["LS-LIN, value less guarantee"] = value - policy.guarantee
    return out


def _cells(ask: Ask) -> list[LogCell]:
    quick = ask.profile == "quick"
    about = {"data": "digits", "dim": 10 if quick else 30, "known": 0.05, "sharpness": 4.0}
    sizes = (256, 1024) if quick else tuple(2**k for k in range(8, 15))
    seeds = 3 if quick else 20
    cells = [LogCell(f"rounds-{n}", n, measure_tightness, {**about, "num_rounds": n}, seeds) for n in sizes]
    steps = {"max_steps": 20 if quick else 200, "noise": 1.0, "reference": 10.0}
    learned = (512,) if quick else (4096, 16_384)
    return cells + [
        LogCell(f"learners-rounds-{n}", n, measure_learners, {**about, **steps, "num_rounds": n}, 2 if quick else 10)
        for n in learned
    ]


_TIGHT = tuple(f"rounds-{2**k}" for k in range(8, 15))
_LEARNED = ("learners-rounds-512", "learners-rounds-4096", "learners-rounds-16384")
STUDY = LogStudy(
    id="offpolicy-digits",
    claim=CLAIMS["offpolicy-digits"],
    description=(
        "scikit-learn's digits, 29 principal components and a 1, logged by 0.9 softmax of a ridge classifier that saw "
        "5 % of the examples plus 0.1 uniform. Tightness |bound / value - 1| of lower bounds at 95 % for a policy "
        "fixed beforehand, over n rounds from 2^8 to 2^14, lambda = 1 / sqrt(n), M = sqrt(n); and policies learned "
        "from 2^12 and 2^14 rounds, with the value that LS-LIN guarantees, whose prior is centred at 10 times the "
        "classifier that logged."
    ),
    make_cells=_cells,
    contrasts=(
        Contrast("The bound of LS is tighter than that of IX.", "IX, tightness", "LS, tightness",
                 "tightness of IX less LS's", _TIGHT),
        Contrast("The bound of IX is tighter than Bernstein's of clipped weights.", "clipped, tightness",
                 "IX, tightness", "tightness of clipped weights less IX's", _TIGHT),
        Contrast("LS-LIN guarantees more than the logging policy's value.", "LS-LIN, guaranteed improvement", "",
                 "guaranteed improvement", _LEARNED),
        Contrast("What LS-LIN guarantees is below its value.", "LS-LIN, value less guarantee", "",
                 "value less guarantee", _LEARNED),
    ),
    shown=("LS, tightness", "IX, tightness", "clipped, tightness"),
    axes=("rounds", "|bound / value - 1| (mean of logs, ± standard error)"),
)  # fmt: skip
