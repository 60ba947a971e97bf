"""A log: rounds that some policy played, with the probability of each action where it is known."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np

from dts_gym.problem.action_names import checked_names, with_name
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.archives import content_digest
from dts_gym.utils.arrays import Array, BoolArray
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import LARGEST, as_float64, boolean, finite_array, integer, integers

SUMS_TO_ONE = 1e-6  # probabilities of a round may be off by so much
_ALIKE = 0.9  # share of the repeated contexts from which on rounds count as logged twice


class BanditLog(Shown):
    """Logged rounds: contexts, actions, rewards, and the probabilities with which the actions were played.

    Parameters
    ----------
    contexts : (n, d), or (n, K, d) features of every action where all actions share a parameter.
    actions : (n,) integers in 0..K-1.
    rewards : (n,).
    propensities : (n,) probability with which the logged action was played, or (n, K) of every action; None where it is
        not known. Zero is accepted and reported: estimators that divide by it refuse the log.
    num_actions : K; None: as many as propensities, masks or contexts show, else the largest action plus one.
    masks : (n, K) booleans, the actions that could be played; None: all of them.
    reward : the family of the rewards, where it is known; `evaluate` and `learn` assume it unless told another.
    action_features : (K, q) features of the actions, for the estimator "MIPS".
    action_names : (K,) different strings, the names of the actions; None: they are shown by their numbers alone.
    adapted : whether the policy learned while it played, so that actions depend on earlier rewards; None where that is
        not known.

    Raises
    ------
    ValueError
        If a shape does not fit, a value is not finite or out of range, probabilities of a round do not sum to 1, or
        a mask forbids the logged action; the message names the round.

    Examples
    --------
    >>> log = BanditLog([[1.0], [0.5]], [0, 2], [1.0, 0.0], propensities=[0.5, 0.25], num_actions=3)
    >>> log
    BanditLog(rounds=2, num_actions=3, dim=1, features='disjoint', propensities='of the played action')
    """

    def __init__(
        self,
        contexts: Any,
        actions: Any,
        rewards: Any,
        propensities: Any = None,
        num_actions: int | None = None,
        masks: Any = None,
        *,
        reward: RewardModel | None = None,
        action_features: Any = None,
        action_names: Sequence[str] | None = None,
        adapted: bool | None = None,
    ) -> None:
        raw = as_float64("contexts", contexts)
        self.contexts = finite_array("contexts", raw, (None,) * (3 if raw.ndim == 3 else 2), LARGEST)
        n = len(self.contexts)
        if not n or not self.contexts.size:
            raise ValueError(f"contexts must have a round or more of one number or more, got shape {raw.shape}")
        self.num_actions = _number_of_actions(num_actions, self.contexts, propensities, masks, actions)
        self.actions = integers("actions", actions, n, self.num_actions)
        self.rewards = finite_array("rewards", rewards, (n,), LARGEST)
        self.propensities = None if propensities is None else _propensities(propensities, n, self.num_actions)
        self.masks = None if masks is None else _masks(masks, n, self.num_actions)
        if reward is not None and not isinstance(reward, RewardModel):
            raise ValueError(f"reward must be a dts_gym RewardModel, got {reward!r:.200}")
        self.reward = reward
        if reward is not None:
            reward.check_all(self.rewards)
        self.action_features = (
            None
            if action_features is None
            else finite_array("action_features", action_features, (self.num_actions, None))
        )
        self.action_names = checked_names(action_names, self.num_actions)
        self.adapted = None if adapted is None else boolean("adapted", adapted)
        self._check_masks()

    def _check_masks(self) -> None:
        if self.masks is None:
            return
        forbidden = np.flatnonzero(~self.masks[np.arange(len(self)), self.actions])
        if forbidden.size:
            i = int(forbidden[0])
            raise ValueError(
                f"masks must allow the logged actions, got action "
                f"{with_name(int(self.actions[i]), self.action_names)} forbidden in round {i}"
            )
        if self.propensities is not None and self.propensities.ndim == 2:
            rows = np.flatnonzero((np.where(self.masks, 0.0, self.propensities) > SUMS_TO_ONE).any(axis=1))
            if rows.size:
                raise ValueError(f"propensities must be 0 where masks forbid an action, got more in round {rows[0]}")

    def __len__(self) -> int:
        return len(self.actions)

    def __eq__(self, other: object) -> bool:
        """Whether the other log has the same rounds and says the same of them."""
        if not isinstance(other, BanditLog):
            return NotImplemented
        told = ("num_actions", "adapted", "action_names", "contexts", "actions", "rewards", "propensities", "masks")
        families = [each.reward and (each.reward.name, each.reward.settings()) for each in (self, other)]
        return families[0] == families[1] and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in (*told, "action_features")
        )

    __hash__ = None  # type: ignore[assignment]  # two equal logs may be told apart by what is done with them

    @property
    def features(self) -> str:
        """The kind of the contexts: "disjoint", (n, d), or "shared", (n, K, d)."""
        return "disjoint" if self.contexts.ndim == 2 else "shared"

    @property
    def dim(self) -> int:
        """d, the dimension of contexts, or of an action's features."""
        return int(self.contexts.shape[-1])

    @property
    def played_propensities(self) -> Array | None:
        """(n,) probability with which each logged action was played; None where it is not known."""
        if self.propensities is None or self.propensities.ndim == 1:
            return self.propensities
        return np.asarray(self.propensities[np.arange(len(self)), self.actions])

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the rounds, by which `evaluate` knows a policy that was learned from this log."""
        arrays = {"contexts": self.contexts, "actions": self.actions, "rewards": self.rewards}
        return content_digest("", arrays)

    def rows(self, which: Any) -> BanditLog:
        """The log of some of the rounds.

        Parameters
        ----------
        which : a slice, or an array of integers or booleans, as NumPy's indexing reads it.
        """
        part = object.__new__(BanditLog)
        part.__dict__.update({k: v for k, v in self.__dict__.items() if k != "fingerprint"})
        part.contexts, part.actions, part.rewards = self.contexts[which], self.actions[which], self.rewards[which]
        part.propensities = None if self.propensities is None else self.propensities[which]
        part.masks = None if self.masks is None else self.masks[which]
        return part

    @cached_property
    def num_duplicates(self) -> int:
        """Number of rounds that equal an earlier one in context, action and reward."""
        return _repeated(np.column_stack([self.contexts.reshape(len(self), -1), self.actions, self.rewards]))

    @property
    def _is_doubled(self) -> bool:
        """Whether nearly every round whose context was there before is there before as a whole.

        Where contexts repeat by themselves, as few users do, actions and rewards differ now and then.
        """
        return self.num_duplicates > _ALIKE * _repeated(self.contexts.reshape(len(self), -1))

    def findings(self) -> list[str]:
        """What is odd in the log, a sentence each; empty where nothing is.

        Examples
        --------
        >>> BanditLog([[1.0], [1.0]], [0, 0], [2.0, 2.0], [0.0, 0.5]).findings()  # doctest: +NORMALIZE_WHITESPACE
        ['1 of 2 rounds equals an earlier one in context, action and reward: the log may hold rounds twice',
         '1 of 2 rounds has a played action of propensity 0 (the first is round 0): its weight is infinite']
        """
        n, found = len(self), []
        if self._is_doubled:
            count = self.num_duplicates
            verb = "equals" if count == 1 else "equal"
            found.append(
                f"{count} of {n} rounds {verb} an earlier one in context, action and reward: the log may hold rounds "
                "twice"
            )
        played = self.played_propensities
        if played is not None and (played == 0).any():
            rows = np.flatnonzero(played == 0)
            verb, its = ("has", "its weight is") if len(rows) == 1 else ("have", "their weights are")
            found.append(
                f"{len(rows)} of {n} rounds {verb} a played action of propensity 0 (the first is round {rows[0]}): "
                f"{its} infinite"
            )
        return found

    @classmethod
    def from_obp(cls, feedback: Mapping[str, Any]) -> Self:
        """The log in a dictionary of the library Open Bandit Pipeline, as its ``obtain_batch_bandit_feedback`` returns.

        Parameters
        ----------
        feedback : with ``context``, ``action``, ``reward``, ``n_actions``, ``pscore`` or ``pi_b``, and perhaps
            ``action_context``. Slates of several positions are refused.
        """
        from dts_gym.offpolicy.other_libraries import obp_arrays

        return cls(**obp_arrays(feedback))

    @classmethod
    def read_obd(cls, folder: str | os.PathLike[str], position: int | None = None) -> Self:
        """The log in a folder of the Open Bandit data set, such as ``random/men``.

        Parameters
        ----------
        folder : with a file of rounds, ``men.csv`` for example, and perhaps ``item_context.csv``.
        position : keep the rounds of this position of the page only; None keeps all.

        Returns
        -------
        BanditLog
            Contexts are indicators of the user features' values, each feature's first value left out, and a 1.
        """
        from dts_gym.offpolicy.other_libraries import obd_arrays

        return cls(**obd_arrays(folder, position))

    @classmethod
    def read_vw(cls, path: str | os.PathLike[str], num_actions: int | None = None) -> Self:
        """The log in a text file of Vowpal Wabbit's contextual bandits (``--cb``): ``action:cost:probability | ...``.

        Parameters
        ----------
        path : text file; a line is a round. Features become columns in the order of their first appearance, rewards are
            costs with the opposite sign, and action 1 of the file is action 0.
        num_actions : K; None: the largest action.
        """
        from dts_gym.offpolicy.other_libraries import vw_arrays

        return cls(**vw_arrays(path, num_actions))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the log to a file .npz, or with contexts (n, d) .csv or .parquet; `load` returns an equal log.

        The columns of a table are ``context_0``, ``context_1``, ..., ``action``, ``action_name`` where actions have
        names, ``reward``, ``propensity`` or ``propensity_0``, ..., and ``mask_0``, .... What is no column stands in the
        first line of a .csv as a comment, ``pandas.read_csv(path, skiprows=1)`` skips it, and in the metadata of a
        .parquet.

        Raises
        ------
        ValueError
            If the name ends otherwise, the log does not fit a table, or the family of its rewards is not one of this
            package.
        ImportError
            For .parquet, if pandas or its reader of such files is not installed.
        """
        from dts_gym.offpolicy.log_files import save_log

        save_log(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, or the folder of rounds that ``dts_gym.run(..., log=folder)`` writes.

        Words in a table's column ``action`` are numbered in their sorted order, and are then the ``action_names``.

        Raises
        ------
        FileNotFoundError
            If there is no such file or folder.
        ValueError
            If it is damaged; the message of a text file names the line and the column.
        """
        from dts_gym.offpolicy.log_files import load_log

        return cls(**load_log(path))

    def _repr_facts(self) -> Mapping[str, Any]:
        known = None if self.propensities is None else self.propensities.ndim
        return {
            "rounds": len(self),
            "num_actions": self.num_actions,
            "dim": self.dim,
            "features": self.features,
            "propensities": {None: None, 1: "of the played action", 2: "of every action"}[known],
            "masks": None if self.masks is None else True,
            "action_names": self.action_names,
            "reward": self.reward,
            "adapted": self.adapted,
        }


def _number_of_actions(given: int | None, contexts: Array, propensities: Any, masks: Any, actions: Any) -> int:
    if given is not None:
        K = integer("num_actions", given, 1)
        if contexts.ndim == 3 and contexts.shape[1] != K:
            raise ValueError(f"contexts must have features of {K} actions, got shape {contexts.shape}")
        return K
    if contexts.ndim == 3:
        return int(contexts.shape[1])
    for shape in (np.shape(propensities), np.shape(masks)):
        if len(shape) == 2:
            return int(shape[1])
    told = np.asarray(actions, dtype=object).ravel().tolist()
    if bad := [one for one in told if isinstance(one, str) or (isinstance(one, int) and one < 0)]:
        raise ValueError(
            f"actions must be numbered 0, 1, ..., got {bad[0]!r:.200}: names, numbers = numpy.unique(actions, "
            "return_inverse=True) numbers them, and action_names=names keeps what they were"
        )
    return int(integers("actions", actions, len(contexts), np.iinfo(np.int64).max).max()) + 1


def _propensities(value: Any, n: int, K: int) -> Array:
    array = as_float64("propensities", value)
    array = finite_array("propensities", array, (n, K) if array.ndim == 2 else (n,))
    bad = np.argwhere((array < 0) | (array > 1 + SUMS_TO_ONE))
    if bad.size:
        at = tuple(bad[0])
        raise ValueError(f"propensities must be probabilities in 0..1, got {array[at]} in round {at[0]}")
    if array.ndim == 2:
        off = np.abs(array.sum(axis=1) - 1.0)
        if off.max() > SUMS_TO_ONE:
            i = int(off.argmax())
            raise ValueError(f"propensities must sum to 1 in every round, got {array[i].sum():.9g} in round {i}")
    return array.clip(None, 1.0)


def _masks(value: Any, n: int, K: int) -> BoolArray:
    array = np.asarray(value)
    if array.dtype.kind in "iu" and ((array == 0) | (array == 1)).all():
        array = array.astype(bool)
    if array.dtype != np.bool_ or array.shape != (n, K):
        raise ValueError(f"masks must be booleans of shape ({n}, {K}), got shape {array.shape} of {array.dtype}")
    return np.array(array, dtype=bool)


def _repeated(table: Array) -> int:
    """Number of rows (n, m) that equal an earlier one."""
    rows = np.ascontiguousarray(table, dtype=np.float64) + 0.0  # -0 is 0
    return len(rows) - len(np.unique(rows.view([("", np.void, rows.shape[1] * 8)]).ravel()["f0"]))


def block_slices(n: int, width: int) -> list[slice]:
    """Slices of n rounds such that a block of rounds by ``width`` numbers takes 32 MB at most."""
    rows = max(1, (1 << 22) // max(1, width))
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
