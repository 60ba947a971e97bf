"""The value of a policy from a log: estimates with intervals, and the warnings that belong to them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dts_gym.offpolicy import cautions
from dts_gym.offpolicy.assumptions import known_rewards
from dts_gym.offpolicy.estimators import (
    ESTIMATORS,
    MODELS,
    WEIGHTED,
    Ends,
    Interval,
    Rounds,
    Tuning,
    weighted_estimate,
)
from dts_gym.offpolicy.intervals import credible_interval, mean_and_error
from dts_gym.offpolicy.log import BanditLog
from dts_gym.offpolicy.policies import checked_policy
from dts_gym.offpolicy.reward_fits import RewardFit, fit_chain, independent_prior
from dts_gym.offpolicy.tables import Estimate, Evaluation
from dts_gym.offpolicy.terms import Folds, Terms, action_groups, gather
from dts_gym.priors.chains import as_prior
from dts_gym.priors.prior import Prior
from dts_gym.problem.rewards import BernoulliReward, RewardModel
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, choice, did_you_mean, fraction, integer, number, positive

Contexts = Literal["population", "log"]
FOLDS = 5  # parts for cross-fitting, unless another number is given


class Models(NamedTuple):
    """The fitted models by estimator, and the families of rewards that they assume."""

    fits: dict[str, RewardFit | Folds]
    reward: RewardModel
    source: str


def evaluate(
    log: BanditLog,
    policy: Any,
    estimators: Sequence[str] | None = None,
    prior: Prior | Any = None,
    level: float = 0.95,
    *,
    reward: RewardModel | str | None = None,
    noise_std: float | None = None,
    contexts: Contexts = "population",
    interval: Interval = "t",
    reward_range: tuple[float, float] | None = None,
    max_weight: float | None = None,
    clip: float | None = None,
    alpha: float | None = None,
    lam: float | None = None,
    folds: int = FOLDS,
    action_features: Any = None,
    learned_on_log: bool | None = None,
    seed: int = 0,
) -> Evaluation:
    """Estimate the mean reward that a policy would have on the contexts of a log.

    With ``w = pi(a|x) / pi0(a|x)``, the policy's probability of the logged action over its propensity, and rewards
    ``r``: "IPS" averages ``w r``; "CIPS" ``min(w, M) r``; "SNIPS" divides IPS by the mean of ``w``; "ES" averages
    ``pi / pi0^alpha r``; "IX" ``pi / (pi0 + lambda / 2) r``; "LS" is ``mean(log(1 + lambda w r)) / lambda``. "DM" and
    "sDM" average ``sum_a pi(a|x) q(x, a)``, with q the mean rewards under a posterior given the log: of independent
    actions with the prior N(0, I), and of the chain ``prior``. "DR" adds the mean of ``w (r - q)`` with q fitted on
    other rounds (cross-fitting), by the chain if there is a prior, and "SNDR" divides that correction by the mean of
    ``w``. "MIPS" weighs groups of actions with equal features.

    Parameters
    ----------
    log : the rounds.
    policy : anything with ``action_probabilities(contexts) -> (n, K)``, which is asked in blocks: every agent, what
        `learn` returns, a class of your own (with an argument ``mask`` where the log has masks); or an array (n, K).
    estimators : names, as above; None: those of `usual_estimators`.
    prior : the chain of the actions' parameters, or a file of one; "sDM" needs it.
    level : probability of the intervals.
    reward : the rewards' family that models assume, "gaussian", "bernoulli" or "poisson"; None: the log's, else
        Gaussian.
    noise_std : standard deviation of Gaussian rewards; None: the log's, else 1.
    contexts : whether intervals of "DM" and "sDM" are for the distribution that the contexts are drawn from
        ("population"), or for the log's own contexts ("log").
    interval : of weighted means: "t", "bootstrap", or "bernstein" (needs ``reward_range``, and for IPS ``max_weight``).
    reward_range : least and largest reward that are possible, known before the data; None: (0, 1) where the family is
        Bernoulli, else not known.
    max_weight : largest weight that is possible, for "bernstein".
    clip, alpha, lam : M of CIPS, sqrt(n) if None; the exponent of ES, 1 - n^(-1/4) if None; lambda of IX and LS,
        1 / sqrt(n) if None. They must not be chosen by looking at the rewards.
    folds : number of parts for cross-fitting.
    action_features : (K, q) features or (K,) groups of the actions, for "MIPS"; None: the log's.
    learned_on_log : whether the policy was learned on this log; None: as the policy itself says.
    seed : seed for folds, bootstrap and posterior draws.

    Returns
    -------
    Evaluation
        ``table["sDM"].value``, ``.lower``, ``.upper``, and the warnings, which are raised as warnings too.

    Raises
    ------
    ValueError
        If an argument does not fit, or the log lacks what an estimator needs: propensities above 0, rewards of the
        right sign, a prior.

    Notes
    -----
    Intervals hold under conditions. Credible ones (DM, sDM): prior and noise are right; then on average over the prior,
    for any policy made *from the log*. Those of weighted means: a policy fixed beforehand, exact propensities, overlap,
    and a log that did not adapt. LS: the same with rewards of at least 0, at any number of rounds, one-sided; two-sided
    where rewards are in 0..1. IX: rewards in 0..1.

    Exact for linear chains and Gaussian rewards. Rewards of other families enter by a quadratic expansion at the most
    probable parameters, links that are not affine as in dTS: values and deviations (of 400 posterior draws) are then
    approximate. O(n K d) a model, in blocks of 32 MB: above the log's own, memory for some 3 n (d + 1) and 10 K d^2
    numbers and 200 MB (at n = 10^6, K = 1000, d = 10: 443 MB, 100 CPU seconds, for five estimators).

    Source: Aouali et al., "Bayesian Off-Policy Evaluation and Learning for Large Action Spaces" (2024), for sDM.

    Examples
    --------
    >>> import numpy as np
    >>> from dts_gym import offpolicy
    >>> rng = np.random.default_rng(0)
    >>> x, a = rng.normal(size=(400, 2)), rng.integers(3, size=400)
    >>> log = offpolicy.BanditLog(x, a, x[:, 0] * (a == 1) + rng.normal(size=400), np.full(400, 1 / 3))
    >>> table = offpolicy.evaluate(log, np.full((400, 3), 1 / 3), ["IPS", "DM"])
    >>> table["IPS"].lower < 0 < table["IPS"].upper, table.warnings
    (True, ())
    """
    if not isinstance(log, BanditLog):
        raise ValueError(f"log must be a BanditLog, got {log!r:.200}")
    names = _names(usual_estimators(log, prior is not None) if estimators is None else estimators)
    policy = checked_policy(policy, log)
    model, source = known_rewards(log, reward, noise_std)
    tuning = _tuning(len(log), level, interval, reward_range, max_weight, clip, alpha, lam, model, log)
    choice("contexts", contexts, ("population", "log"))
    asked = None if learned_on_log is None else boolean("learned_on_log", learned_on_log)
    learned = cautions.learned_here(log, policy, asked)
    cautions.refuse(log, names)
    known = None if prior is None else as_prior(prior)
    if "sDM" in names and known is None:
        raise ValueError("prior must be given for sDM: a chain such as env.unwrapped.problem.prior, or a file of one")
    models = _fitted(log, names, known, model, source, integer("folds", folds, 2), integer("seed", seed, 0))
    groups = action_groups(log, action_features) if "MIPS" in names else None
    terms = gather(log, policy, models.fits, groups)
    rounds = _rounds(log, terms)
    if rounds is not None and tuning.max_weight is not None and rounds.weights.max() > tuning.max_weight * (1 + 1e-9):
        raise ValueError(f"max_weight must be at least the log's largest, {rounds.weights.max():.6g}, got {max_weight}")
    rng = stream(seed, "report")
    found = {
        name: _claimed(models.fits[name], terms, name, contexts, tuning.level)
        if name in MODELS
        else weighted_estimate(name, _needed(rounds), tuning, rng)
        for name in names
    }
    told = log.findings() + cautions.of_lack(log) + cautions.of_origin(log, policy, names, learned)
    told += [] if rounds is None else cautions.of_weights(log, rounds, names, learned)
    told += cautions.of_ranges(names, log.rewards, tuning.reward_range)
    told += _compared(log, models, terms, rounds, found, learned)
    for text in told:
        warnings.warn(text, cautions.OffPolicyWarning, stacklevel=2)
    return Evaluation(_estimates(found, rounds, models), tuple(told), len(log), tuning.level)


def usual_estimators(log: BanditLog, has_prior: bool) -> tuple[str, ...]:
    """The estimators that a log allows, of "IPS", "SNIPS", "DM", "DR" and, with a prior, "sDM".

    "IPS", "SNIPS" and "DR" need the propensity of every played action, above 0, and "DR" as many rounds as folds.
    """
    played = log.played_propensities
    weighted = ("IPS", "SNIPS") if played is not None and bool((played > 0).all()) else ()
    robust = ("DR",) if weighted and len(log) >= FOLDS else ()
    return (*weighted, "DM", *(("sDM",) if has_prior else ()), *robust)


def _names(estimators: Any) -> list[str]:
    given = [estimators] if isinstance(estimators, str) else list(estimators)
    if not given:
        raise ValueError(f"estimators must be some of {ESTIMATORS}, got none")
    for name in given:
        if name not in ESTIMATORS:
            raise ValueError(f"estimators must be among {ESTIMATORS}, got {name!r}{did_you_mean(name, ESTIMATORS)}")
    return list(dict.fromkeys(given))


def _tuning(
    n: int,
    level: Any,
    interval: Any,
    reward_range: Any,
    max_weight: Any,
    clip: Any,
    alpha: Any,
    lam: Any,
    model: RewardModel,
    log: BanditLog,
) -> Tuning:
    choice("interval", interval, ("t", "bootstrap", "bernstein"))
    if reward_range is not None:
        if not isinstance(reward_range, tuple | list) or len(reward_range) != 2:
            raise ValueError(f"reward_range must be the least and the largest reward, got {reward_range!r:.200}")
        low, high = (number("reward_range", end) for end in reward_range)
        if not low < high or log.rewards.min() < low or log.rewards.max() > high:
            raise ValueError(
                f"reward_range must hold the log's rewards, {log.rewards.min():g} to {log.rewards.max():g}, got "
                f"{(low, high)}"
            )
        reward_range = low, high
    elif isinstance(model, BernoulliReward):
        reward_range = 0.0, 1.0
    if interval == "bernstein" and reward_range is None:
        raise ValueError("reward_range must be given for Bernstein intervals, got None")
    return Tuning(
        clip=math.sqrt(n) if clip is None else positive("clip", clip),
        alpha=1.0 - n**-0.25 if alpha is None else fraction("alpha", alpha, ends=True),
        lam=1.0 / math.sqrt(n) if lam is None else positive("lam", lam),
        level=fraction("level", level),
        interval=interval,
        max_weight=None if max_weight is None else positive("max_weight", max_weight),
        reward_range=reward_range,
    )


def _fitted(
    log: BanditLog, names: Sequence[str], prior: Prior | None, model: RewardModel, source: str, folds: int, seed: int
) -> Models:
    """The models that the estimators need; where one is asked for beside propensities, DR's too, to compare."""
    fits: dict[str, RewardFit | Folds] = {}
    if "DM" in names:
        fits["DM"] = fit_chain(log, independent_prior(log.dim), model, seed)
    if "sDM" in names and prior is not None:
        fits["sDM"] = fit_chain(log, prior, model, seed)
    played = log.played_propensities
    can_compare = bool(fits) and played is not None and bool((played > 0).all()) and len(log) >= 10 * folds
    asked = "DR" in names or "SNDR" in names
    if asked and len(log) < folds:
        raise ValueError(f"folds must be at most the log's {len(log)} rounds for DR and SNDR, got {folds}")
    if asked or can_compare:
        chain = independent_prior(log.dim) if prior is None else prior
        of = stream(seed, "split").permutation(len(log)) % folds
        fits["DR"] = Folds(of, [fit_chain(log.rows(of != k), chain, model, seed) for k in range(folds)])
    return Models(fits, model, source)


def _rounds(log: BanditLog, terms: Terms) -> Rounds | None:
    played = log.played_propensities
    if played is None or (played == 0).any():
        return None
    return Rounds(played, terms.played / played, log.rewards, terms)


def _needed(rounds: Rounds | None) -> Rounds:
    assert rounds is not None  # refused before
    return rounds


def _claimed(fit: Any, terms: Terms, name: str, contexts: Contexts, level: float) -> Ends:
    """A model's estimate with its credible interval."""
    value, error = mean_and_error(terms.values[name])
    deviation = fit.deviation(terms.directions, *terms.sample)
    if contexts == "population" and not math.isnan(error):
        deviation = math.hypot(deviation, error)
    return Ends(value, *credible_interval(value, deviation, level), "credible", deviation)


def _compared(
    log: BanditLog,
    models: Models,
    terms: Terms,
    rounds: Rounds | None,
    found: dict[str, Ends],
    learned: bool | None,
) -> list[str]:
    """Warnings where a model is apart from the doubly robust estimate, and where its noise is wrong."""
    told: list[str] = []
    own = [name for name in MODELS if name in found]
    if "DR" in models.fits and rounds is not None:
        correction = rounds.weights * (log.rewards - terms.predicted["DR"]) + terms.values["DR"]
        robust, error = mean_and_error(correction)
        apart = [(name, found[name].value, found[name].standard_error, robust, error) for name in own]
        told += cautions.of_models(apart, learned)
    if own:
        seen = terms.predicted["sDM" if "sDM" in own else "DM"]
        told += cautions.of_noise(models.reward, models.source, log.rewards, seen, terms.predicted.get("DR"))
    return told


def _estimates(found: dict[str, Ends], rounds: Rounds | None, models: Models) -> dict[str, Estimate]:
    size = math.nan if rounds is None else rounds.effective_sample_size
    largest = math.nan if rounds is None else float(np.max(rounds.weights))
    out = {}
    for name, ends in found.items():
        fit = models.fits.get(name)
        exact = name in WEIGHTED or (isinstance(fit, RewardFit) and fit.is_exact)
        out[name] = Estimate(name, *ends, size, largest, not exact)
    return out
