"""How likely an agent picks each action: what a log records for off-policy estimates."""

from __future__ import annotations

import copy
import threading
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from dts_gym.agents.inputs import as_rows
from dts_gym.agents.slates import Slates
from dts_gym.posteriors.marginals import ActionLaws
from dts_gym.posteriors.win_probabilities import scores_of, win_probabilities
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import MOST, choice, integer

Method = Literal["quadrature", "draws"]
_DRAWS = 1000  # number of choices by which probabilities are estimated where nothing better is known
_SHARED_DRAWS = 32


class Propensities(Slates):
    """The probabilities of an agent's picks."""

    _lock: threading.RLock
    _rngs: dict[str, np.random.Generator]
    _drawn: Callable[[str, Callable[[np.random.Generator], IntArray]], IntArray]
    _choose_allowed: Callable[..., IntArray]
    _begin_plan: Callable[[], None]
    _prepare: Callable[[Array], None]

    @abstractmethod
    def _check_context(self, context: Any) -> Array:
        """Return ``context``, checked."""

    @abstractmethod
    def _check_mask(self, mask: Any, contexts: Array) -> BoolArray | None:
        """Return ``mask`` for checked contexts, checked."""

    @abstractmethod
    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """Actions for checked contexts."""

    @abstractmethod
    def _choose_to_play(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        """Actions for checked contexts, by `act`."""

    def action_probabilities(
        self,
        context: Any,
        num_draws: int | None = None,
        mask: Any = None,
        *,
        method: Method | None = None,
        num_shared: int = _SHARED_DRAWS,
    ) -> Array:
        """How likely `act` would pick each action, as a policy's log records it for off-policy estimates.

        Parameters
        ----------
        context, mask : as in `act`.
        num_draws : number of repeated choices for each context, for ``method="draws"``; None makes 1000.
        method : "quadrature" or "draws". None uses a formula where there is one (agents that draw nothing, Random and
            EpsilonGreedy), "draws" where ``num_draws`` is given, else "quadrature" where it can be had, else "draws".
        num_shared : number of draws of what the actions share over which "quadrature" averages.

        Returns
        -------
        (K,), or (n, K)
            By formula, exact: tied actions are as likely. By "quadrature", to 1e-7 given the shared draws; exact where
            nothing is shared, as for LinTS. By "draws", shares of the choices: a probability p is off by
            ``sqrt(p (1 - p) / num_draws)``, and small ones come as 0.

        Raises
        ------
        ValueError
            As `act`; or if a number is not a positive integer; or if "quadrature" is asked of an agent whose scores are
            not independent given what the actions share: JointTS, LaplaceDPS, IDS, shared features, and particles with
            a branch above 0.

        Notes
        -----
        Quadrature costs some rounds of the agent for each shared draw, a draw of the shared part included. The draws
        come from the stream of `predict`, which advances; what `act` does next is unchanged. With two actions the
        result is the probability that one normal number is above another. Of the contexts of a batch each is asked
        about by itself.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinUCB", BanditProblem(2, 1, random_linear_prior(1, 1), GaussianReward()), seed=0)
        >>> agent.update([[1.0]] * 2, [0, 1], [2.0, -2.0])
        >>> agent.action_probabilities([1.0])
        array([1., 0.])
        >>> agent = make_agent("LinTS", agent.problem, seed=0)
        >>> agent.update([[1.0]] * 2, [0, 1], [2.0, -2.0])
        >>> agent.action_probabilities([1.0]).round(4)  # two normal numbers of means 1 and -1 and variance 1/2
        array([0.9772, 0.0228])
        """
        x = self._check_context(context)
        allowed = self._check_mask(mask, x)
        count = None if num_draws is None else integer("num_draws", num_draws, 1, most=MOST)
        size = integer("num_shared", num_shared, 1, most=MOST)
        if method is not None:
            choice("method", method, get_args(Method))
        single = self._is_single(x)
        rows, masks = as_rows(x, allowed, single)
        found = np.empty((len(rows), self.problem.num_actions))
        with self._lock:
            for i, (row, one) in enumerate(zip(rows, masks, strict=True)):
                found[i] = self._probabilities(row, one, method, count, size)
        return found[0] if single else found

    def act_with_probability(
        self, context: Any, mask: Any = None, *, num_shared: int = _SHARED_DRAWS
    ) -> tuple[Any, Any]:
        """Pick an action as `act` does, and say how likely that was.

        Parameters
        ----------
        context, mask : as in `act`.
        num_shared : number of draws of what the actions share over which the probability is averaged, the one by which
            the action was picked among them.

        Returns
        -------
        action : int, or (n,) ints
            For one context the action that `act` would have picked. The contexts of a batch are picked for one by one.
        probability : float, or (n,) floats
            By a formula, by quadrature or by 1000 choices, as `action_probabilities` says. The shared draw, or the
            choice, that was used counts as one of those that are averaged: ``1 / probability`` then is on average 1
            over the rounds that pick an action and 0 elsewhere, for every action, so weights of off-policy estimates
            are not biased.

        Raises
        ------
        ValueError
            As `act`. The agent is then unchanged.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> problem = BanditProblem(4, 2, random_linear_prior(2, 1), GaussianReward())
        >>> action, probability = make_agent("LinTS", problem, seed=0).act_with_probability([1.0, 2.0])
        >>> probability
        0.25
        """
        x = self._check_context(context)
        allowed = self._check_mask(mask, x)
        size = integer("num_shared", num_shared, 1, most=MOST)
        single = self._is_single(x)
        rows, masks = as_rows(x, allowed, single)

        def pick(row: Array, one: BoolArray | None) -> tuple[int, float]:
            return self._pick_with_probability(row, one, size)

        with self._lock:
            states = {name: copy.deepcopy(rng.bit_generator.state) for name, rng in self._rngs.items()}
            try:
                self._prepare(x)
                picked = self._each(rows, masks, pick, lambda picked: [picked[0]])
            except ValueError:
                for name, state in states.items():
                    self._rngs[name].bit_generator.state = state
                raise
            self._begin_plan()
        actions = np.array([action for action, _ in picked], dtype=np.int64)
        probabilities = np.array([probability for _, probability in picked], dtype=np.float64)
        return (int(actions[0]), float(probabilities[0])) if single else (actions, probabilities)

    def _formula(self, context: Array, mask: BoolArray | None) -> Array | None:
        """Probabilities (K,) of a choice that draws at most among tied actions; None where there is no formula."""
        return None

    def _laws_given_shared(self, context: Array, rng: np.random.Generator, size: int) -> ActionLaws | None:
        """Distributions of the scores given draws of what is shared, a row for each; None where they are not known."""
        return None

    def _pick_with_probability(self, x: Array, mask: BoolArray | None, size: int) -> tuple[int, float]:
        exact = self._formula(x, mask)  # before the pick, which may change what is kept for the next one
        used = copy.deepcopy(self._rngs["act"])  # what it draws first is the shared part that the choice uses
        pick = partial(self._choose_to_play, x, mask=mask)
        action = int(self._drawn("act", lambda rng: pick(rng=rng)))
        if exact is not None:
            return action, float(exact[action])
        laws = self._laws_given_shared(x, used, 1)
        if laws is None:
            others = self._repeated(x, mask, _DRAWS - 1)
            return action, float((1 + np.count_nonzero(others == action)) / _DRAWS)
        total = _probability_of(action, laws, mask)
        more = self._laws_given_shared(x, self._rngs["predict-draw"], size - 1) if size > 1 else None
        if more is not None and more.own.means.shape[1] == size - 1:  # else nothing is shared
            total = (total + (size - 1) * _probability_of(action, more, mask)) / size
        return action, total

    def _probabilities(
        self, x: Array, mask: BoolArray | None, method: Method | None, count: int | None, size: int
    ) -> Array:
        """Probabilities (K,) for one context."""
        if method != "draws" and (method or count is None):
            exact = self._formula(x, mask)
            if exact is not None:
                return exact
            laws = self._laws_given_shared(x, self._rngs["predict-draw"], size)
            if laws is not None:
                played, unplayed = _averaged(laws, mask)
                out = np.full(self.problem.num_actions, unplayed)
                if mask is not None:
                    out[~mask] = 0.0
                out[laws.actions] = played
                return out
            if method is not None:
                raise ValueError(
                    f"method must be 'draws' for {type(self).__name__} here, whose scores are not independent given "
                    f"what the actions share, got {method!r}"
                )
        draws = self._repeated(x, mask, count or _DRAWS)
        return np.bincount(draws, minlength=self.problem.num_actions) / len(draws)

    def _repeated(self, x: Array, mask: BoolArray | None, count: int) -> IntArray:
        """Repeated choices (count,) for one context, from the stream of `predict`."""
        repeated = np.broadcast_to(x, (count, *x.shape))
        return self._drawn("predict-draw", partial(self._choose_allowed, self._choose, repeated, mask=mask))


def _averaged(laws: ActionLaws, mask: BoolArray | None) -> tuple[Array, float]:
    """Probabilities of the played actions (P,) and of each unplayed one, averaged over the rows of ``laws``."""
    actions = laws.actions
    banned, num_unplayed = np.empty(0, dtype=np.int64), laws.num_actions - len(actions)
    if mask is not None:
        banned = np.flatnonzero(~mask[actions])
        num_unplayed = int(np.count_nonzero(mask)) - (len(actions) - len(banned))
    size = laws.own.means.shape[1]
    total = np.zeros(len(actions) + (num_unplayed > 0))
    for row in range(size):
        scores = scores_of(laws.own, laws.other, row, banned, num_unplayed)
        found, _ = win_probabilities(scores)
        total += found / (scores.counts @ found)
    total /= size
    return total[: len(actions)], float(total[-1]) if num_unplayed else 0.0


def _probability_of(action: int, laws: ActionLaws, mask: BoolArray | None) -> float:
    played, unplayed = _averaged(laws, mask)
    slot = np.flatnonzero(laws.actions == action)
    return float(played[slot[0]]) if len(slot) else unplayed
