"""Learning a policy from a log."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, get_args

import numpy as np

from dts_gym.offpolicy import cautions
from dts_gym.offpolicy.assumptions import known_rewards
from dts_gym.offpolicy.learned_policies import LearnedPolicy, PerturbedPolicy, PosteriorPolicy, SoftmaxPolicy
from dts_gym.offpolicy.log import BanditLog
from dts_gym.offpolicy.objectives import best_perturbed, best_softmax
from dts_gym.offpolicy.reward_fits import fit_chain
from dts_gym.priors.chains import as_prior
from dts_gym.priors.fitting import marginal_moments
from dts_gym.priors.prior import Prior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import did_you_mean, finite_array, fraction, integer, nonnegative, positive

Learner = Literal["sDM", "LCB", "IPS", "ES", "LS", "LS-LIN"]
LEARNERS: tuple[str, ...] = get_args(Learner)


def learn(
    log: BanditLog,
    learner: Learner = "sDM",
    prior: Prior | Any = None,
    *,
    reward: RewardModel | str | None = None,
    noise_std: float | None = None,
    pessimism: float = 1.0,
    alpha: float | None = None,
    lam: float | None = None,
    level: float = 0.95,
    reference: Any = None,
    noise: float = 1.0,
    regularisation: float | None = None,
    max_steps: int = 200,
    seed: int = 0,
) -> LearnedPolicy:
    """Learn a policy from a log.

    "sDM" plays the largest posterior mean under the chain ``prior`` and "LCB" the largest lower bound, the mean less
    ``pessimism`` posterior standard deviations; they need no propensities. "IPS", "ES" and "LS" are softmax policies,
    ``pi(a|x)`` proportional to ``exp(x' theta_a)``, that maximise the estimator of that name by L-BFGS. "LS-LIN" is
    the policy of parameters drawn from ``N(mu, noise^2 I)`` whose guaranteed value is largest: it knows a bound below
    its own value, ``policy.guarantee``, although it was learned from the same log.

    Parameters
    ----------
    log : the rounds.
    learner : name, as above.
    prior : the chain of the actions' parameters, or a file of one, for "sDM" and "LCB".
    reward, noise_std : the rewards' family, and the standard deviation of Gaussian ones; None: as in `evaluate`.
    pessimism : number of standard deviations, for "LCB".
    alpha, lam : as in `evaluate`.
    level : probability with which the guarantee of "LS-LIN" holds.
    reference : (K, d) parameters that the guarantee is centred at, known before the log; None: zeros.
    noise : standard deviation of the parameters of "LS-LIN".
    regularisation : factor on ``|theta|^2 / 2``, subtracted from the objective of softmax policies; None: 1 / n.
    max_steps : number of steps of L-BFGS at most.
    seed : seed for posterior draws, where there are any.

    Returns
    -------
    LearnedPolicy
        With ``action_probabilities(contexts, mask=None)``, ``act``, ``save``.

    Warns
    -----
    OffPolicyWarning
        If all contexts are zeros; for "sDM" and "LCB" also if rewards are far from what the prior expects, or tell
        next to nothing of it.

    Raises
    ------
    ValueError
        If an argument does not fit, or the log lacks what the learner needs.

    Notes
    -----
    Softmax objectives are not concave: a local optimum is found, from the uniform policy. "LS-LIN" needs rewards in
    0..1 and contexts (n, d); its bound is ``psi(-mean pi_Q log(1 - lambda c / pi0) / lambda + (KL + log 1/delta) /
    (lambda n))`` of the risk, with costs ``c = -r`` and ``psi(x) = (1 - e^(-lambda x)) / lambda``.

    Source: Aouali et al., "Bayesian Off-Policy Evaluation and Learning for Large Action Spaces" (2024); "Exponential
    Smoothing for Off-Policy Learning" (2023); Sakhi et al., "Logarithmic Smoothing for Pessimistic Off-Policy
    Evaluation, Selection and Learning" (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from dts_gym import offpolicy, random_linear_prior
    >>> rng = np.random.default_rng(0)
    >>> x, a = rng.normal(size=(400, 2)), rng.integers(3, size=400)
    >>> log = offpolicy.BanditLog(x, a, x[:, 0] * (a == 1) + rng.normal(size=400), np.full(400, 1 / 3))
    >>> policy = offpolicy.learn(log, "sDM", prior=random_linear_prior(2, 1))
    >>> policy.action_probabilities([2.0, 0.0])
    array([0., 1., 0.])
    """
    if not isinstance(log, BanditLog):
        raise ValueError(f"log must be a BanditLog, got {log!r:.200}")
    if learner not in LEARNERS:
        raise ValueError(f"learner must be one of {LEARNERS}, got {learner!r:.200}{did_you_mean(learner, LEARNERS)}")
    n, shape = len(log), log.contexts.shape[1:]
    about = learner, log.fingerprint, log.num_actions, shape
    if learner in ("sDM", "LCB"):
        if prior is None:
            raise ValueError(
                f"prior must be given for {learner}: a chain such as env.unwrapped.problem.prior, or a file of one; "
                "IPS, ES, LS and LS-LIN need none"
            )
        model, _ = known_rewards(log, reward, noise_std)
        chain = as_prior(prior)
        fit = fit_chain(log, chain, model, integer("seed", seed, 0))
        for text in cautions.of_prior(log, model, lambda: marginal_moments(chain)):
            warnings.warn(text, cautions.OffPolicyWarning, stacklevel=2)
        bound = float(nonnegative("pessimism", [pessimism], 1)[0]) if learner == "LCB" else 0.0
        return PosteriorPolicy(fit, bound, *about)
    played = _usable_propensities(log, learner)
    if not log.contexts.any():
        warnings.warn(cautions.OF_FIRST_REWARDS["zero contexts"], cautions.OffPolicyWarning, stacklevel=2)
    smoothing = 1.0 / math.sqrt(n) if lam is None else positive("lam", lam)
    steps = integer("max_steps", max_steps, 1)
    if learner == "LS-LIN":
        delta = 1.0 - fraction("level", level)
        centre = _reference(log, reference)
        found, guarantee = best_perturbed(log, played, smoothing, delta, centre, positive("noise", noise), steps)
        return PerturbedPolicy(found, float(noise), *about, guarantee)
    exponent = 1.0 - n**-0.25 if alpha is None else fraction("alpha", alpha, ends=True)
    penalty = 1.0 / n if regularisation is None else float(nonnegative("regularisation", [regularisation], 1)[0])
    gains = log.rewards / (played**exponent if learner == "ES" else played)
    return SoftmaxPolicy(best_softmax(log, gains, smoothing if learner == "LS" else None, penalty, steps), *about)


def _usable_propensities(log: BanditLog, learner: str) -> Array:
    played = log.played_propensities
    if played is None or (played == 0).any():
        what = "none" if played is None else f"0 in {int((played == 0).sum())} rounds"
        raise ValueError(f"propensities must be in the log and above 0 for {learner}, got {what}")
    if learner in ("LS", "LS-LIN") and (log.rewards < 0).any():
        raise ValueError(f"rewards must not be negative for {learner}, got {log.rewards.min():g}")
    if learner == "LS-LIN" and (log.rewards > 1).any():
        raise ValueError(f"rewards must be in 0..1 for LS-LIN, got {log.rewards.max():g}")
    return played


def _reference(log: BanditLog, reference: Any) -> Array:
    if log.features == "shared":
        raise ValueError(f"contexts must be (n, d) for LS-LIN, got shape {log.contexts.shape}")
    shape = log.num_actions, log.dim
    return np.zeros(shape) if reference is None else finite_array("reference", reference, shape)
