"""What makes an estimate from a log wrong: refusals before it is computed, and warnings beside it, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dts_gym.offpolicy.estimators import WEIGHTED, Rounds
from dts_gym.offpolicy.log import BanditLog
from dts_gym.offpolicy.terms import Terms
from dts_gym.problem.first_rewards import ENOUGH, Belief, Finding, FirstRewards
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array

_FEW = 100  # an effective sample size below this, or
_SMALL_SHARE = 0.01  # below this share of the rounds, is small
_HEAVY = 0.05  # share of the weights' sum that one round may have
_APART = 2.0  # number of standard deviations beyond which two estimates are apart
_OFF = 5.0  # the same for the mean weight, from what it should be

REPLAY_ADAPTED = (
    "the log's policy learned while it played: which of its rounds match then depends on their rewards, and what is "
    "replayed is not what the agent would have earned (too much, where that policy was good); replay a log whose "
    "policy did not depend on the rewards, such as one of random actions (record with learn=False)"
)

# What first rewards are found to be like, said of a log.
OF_FIRST_REWARDS: dict[Finding, str] = {
    "zero contexts": (
        "the contexts of all rounds are zeros, under which x' theta is 0 for every action: nothing is learned. Append "
        "a 1 to every context, for an intercept, and state a prior with room for it"
    ),
    "far rewards": (
        "the rewards are more than 5 standard deviations, in the root mean square, from what the prior expects. "
        "Subtract a typical reward and divide by the rewards' standard deviation, or pass a prior that has room for "
        "them. noise_std is the standard deviation of a reward around its mean"
    ),
    "small rewards": (
        "the rewards are less than a tenth, in the root mean square, of the noise's standard deviation that is "
        "assumed, and tell next to nothing. Pass noise_std, the standard deviation of a reward around its mean"
    ),
}


class OffPolicyWarning(UserWarning):
    """A warning of `evaluate`, `learn` or `replay`: what an estimate or a policy needs and the log may not fulfil."""


def refuse(log: BanditLog, names: Sequence[str]) -> None:
    """ValueError if estimators need propensities that the log lacks, or rewards that it does not have."""
    weighted = [name for name in names if name in WEIGHTED]
    played = log.played_propensities
    if weighted and played is None:
        raise ValueError(
            f"propensities must be in the log for {', '.join(weighted)}, got none: only DM and sDM need none. Log the "
            "probability of each action as it is played (act_with_probability), or estimate it and say so"
        )
    if weighted and played is not None and (played == 0).any():
        row = int((played == 0).argmax())
        raise ValueError(
            f"propensities of played actions must be above 0 for {', '.join(weighted)}, got 0 in "
            f"{int((played == 0).sum())} rounds, the first is round {row}: an action that was played had a positive "
            "probability, so these were recorded wrongly; leave such rounds out (log.rows) only if you know why"
        )
    if "MIPS" in names and (log.propensities is None or log.propensities.ndim == 1):
        raise ValueError("propensities must be (n, K), those of every action, for MIPS, got the played action's alone")
    if "LS" in names and (log.rewards < 0).any():
        raise ValueError(
            f"rewards must not be negative for LS, got {log.rewards.min():g}: add a constant to all rewards, which "
            "adds it to every value"
        )


def of_weights(log: BanditLog, rounds: Rounds, names: Sequence[str], learned: bool | None) -> list[str]:
    """Warnings about the weights, for estimators that use them.

    Their mean says nothing of propensities where the policy was learned on this log, which may have maximised them.
    """
    used = [name for name in names if name in WEIGHTED]
    if not used:
        return []
    n, w, found = len(log), rounds.weights, []
    size, largest = rounds.effective_sample_size, float(w.max())
    if size < max(_FEW, _SMALL_SHARE * n):
        why = "the policy plays what the log seldom did" if size < n / 2 else "the log is short"
        found.append(
            f"the effective sample size is {size:.1f} of {n} rounds: {why}, and intervals by weights "
            f"({', '.join(used)}) are too narrow or useless"
        )
    elif largest > _HEAVY * w.sum():
        found.append(f"one round has {largest / w.sum():.0%} of all weight: intervals by weights depend on its reward")
    off = None if learned else _mean_weight(w, rounds.terms, size >= max(_FEW, _SMALL_SHARE * n))
    found += [] if off is None else [off]
    if rounds.terms.unsupported > 1e-6:
        found.append(
            f"the policy gives probability {rounds.terms.unsupported:.3g} to actions of propensity 0 in the log, of "
            f"whose rewards {', '.join(used)} know nothing"
        )
    return found


def _mean_weight(w: Array, terms: Terms, many: bool) -> str | None:
    """A warning if the weights (n,) do not average what they do where propensities are right.

    That is 1, less what the policy gives to actions that the log could not play. Where propensities of every action are
    known the standard error is that of right propensities, exactly. Else it is that of these weights and one more, the
    one that speaks most against a warning, as rounds of rare weights may just lack; and a mean below 1 is told only
    where ``many`` rounds have weight. Of 27 840 right logs of 288 kinds 0.14 % (with propensities of every action) and
    none (with those of the played ones) were told that propensities are wrong.
    """
    n, mean = len(w), float(w.mean())
    known = not math.isnan(terms.weight_error)
    expected = 1.0 - terms.unsupported if known else 1.0
    if abs(mean - expected) < 1e-9 or not (known or many or mean > 1.0):
        return None
    seen = w if known else np.append(w, 0.0 if mean > 1.0 else w.max())
    error = terms.weight_error if known else float(seen.std(ddof=1)) / math.sqrt(n + 1)
    far = abs(float(seen.mean()) - expected) / error if error else math.inf
    if far <= _OFF:
        return None
    cause = "propensities are wrong"
    if not known and mean < 1.0:
        cause = "the policy plays actions that the log could not play or hardly did, or propensities are too large"
    return f"the weights average {mean:.3g} and not {expected:.3g}, {far:.1f} standard errors away: {cause}"


def learned_here(log: BanditLog, policy: Any, told: bool | None) -> bool | None:
    """Whether a policy was learned on a log: as told, else as the policy says; None where it says nothing."""
    known = getattr(policy, "learned_from", None)
    return told if told is not None else known == log.fingerprint if known else None


def of_origin(log: BanditLog, policy: Any, names: Sequence[str], learned: bool | None) -> list[str]:
    """Warnings about where policy and log are from, for estimators by weights; ``learned`` is `learned_here`."""
    used = [name for name in names if name in WEIGHTED]
    if not used:
        return []
    found = []
    if learned:
        found.append(
            f"the policy was learned on this log: intervals by weights ({', '.join(used)}) then do not hold, and cover "
            "next to nothing if the policy maximises such an estimate; use sDM under a prior that you trust, or rounds "
            "that the policy has not seen"
        )
    elif learned is None and getattr(policy, "num_updates", 0) > 0:
        found.append(
            f"the policy is an agent that has learned {policy.num_updates} rewards: if they are this log's, intervals "
            f"by weights ({', '.join(used)}) do not hold (learned_on_log=False says that they are not)"
        )
    if log.adapted:
        found.append(
            "the log's policy learned while it played: rounds are not independent, and intervals by weights cover less "
            "than they say (80 % where 95 % is said, on a log of Thompson sampling)"
        )
    return found


def of_lack(log: BanditLog) -> list[str]:
    """A warning if a log has no propensities, so that nothing can be set beside a model's value."""
    if log.propensities is not None:
        return []
    return [
        "the log has no propensities: values rest on models alone, which are right only if prior and noise are, and no "
        "estimate by weights can check them"
    ]


def of_models(apart: Sequence[tuple[str, float, float, float, float]], learned: bool | None) -> list[str]:
    """Warnings where a model's value is apart from the doubly robust one.

    Parameters
    ----------
    apart : for each model its name, value and deviation, and DR's value and standard error.
    learned : whether the policy was learned on this log. Then nothing is told: of the two it is DR that is wrong.
    """
    found: list[str] = []
    if learned:
        return found
    for name, value, deviation, robust, error in apart:
        scale = math.hypot(deviation, error)
        if abs(value - robust) > _APART * scale:
            found.append(
                f"{name} says {value:.4g} and DR {robust:.4g}, {abs(value - robust) / scale:.1f} standard deviations "
                f"apart: if the policy was not made from this log, believe DR, as prior or noise may be wrong, or the "
                f"policy knows more than the log; if it was made from this log, DR is too high, and {name} is right if "
                "its prior is"
            )
    return found


def of_noise(model: RewardModel, source: str, rewards: Array, seen: Array, unseen: Array | None) -> list[str]:
    """Warnings where the assumed noise contradicts the residuals.

    Parameters
    ----------
    model, source : the family of rewards, and whether it was "given", is the "log"'s or the "default".
    rewards, seen, unseen : (n,) rewards, and predictions by models that have seen the round and that have not.
    """
    if not isinstance(model, GaussianReward):
        return []
    assumed = "is assumed" if source != "default" else "is assumed, as none was told"
    if ((rewards == 0) | (rewards == 1)).all() and len(set(rewards.tolist())) == 2:
        return [f'rewards are 0 and 1, but Gaussian noise {assumed}: reward="bernoulli" says what they are']
    inside = math.sqrt(float(((rewards - seen) ** 2).mean()))
    outside = math.inf if unseen is None else math.sqrt(float(((rewards - unseen) ** 2).mean()))
    if inside > 1.25 * model.noise_std:
        return [f"noise of deviation {model.noise_std:g} {assumed}, but residuals have {inside:.3g}: pass noise_std"]
    if outside < 0.8 * model.noise_std:
        return [f"noise of deviation {model.noise_std:g} {assumed}, but residuals have {outside:.3g}: pass noise_std"]
    return []


def of_prior(log: BanditLog, model: RewardModel, moments: Callable[[], tuple[Array, Array]]) -> list[str]:
    """What agents warn of when they see their first rewards, for 20 rounds all over a log.

    Parameters
    ----------
    model : the family of rewards that is believed in.
    moments : gives the mean (d,) and covariance (d, d) of an action's parameters under the prior; it is called where
        there are 20 rounds that are not all zeros.
    """
    rows = log.contexts if log.features == "disjoint" else log.contexts[np.arange(len(log)), log.actions]
    if not rows.any():
        return [OF_FIRST_REWARDS["zero contexts"]]
    looked_at = np.flatnonzero(rows.any(axis=1))
    looked_at = looked_at[np.linspace(0, len(looked_at) - 1, min(len(looked_at), ENOUGH)).round().astype(int)]
    first = FirstRewards()
    if not first.note(rows[looked_at], log.rewards[looked_at]):
        return []
    finding = first.finding([Belief(model, moments)])
    return [] if finding is None else [OF_FIRST_REWARDS[finding]]


def of_ranges(names: Sequence[str], rewards: Array, reward_range: tuple[float, float] | None) -> list[str]:
    """Warnings about bounds that do not hold for the range of the rewards."""
    if "IX" not in names:
        return []
    if reward_range is None:
        return ["IX has no interval: its bounds need rewards in 0..1, and reward_range=(0, 1) says so"]
    if reward_range[0] < 0 or reward_range[1] > 1:
        return [f"IX has no interval: its bounds need rewards in 0..1, the range is {reward_range}"]
    return []
