"""How much an agent explores: a number or a rule that was set, or what it chose by simulating its own prior."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from dts_gym.agents.auto.choosing import choose, family
from dts_gym.agents.auto.exploration_tuning import ExplorationTuning
from dts_gym.agents.auto.simulation import Contexts
from dts_gym.agents.saving import Plan
from dts_gym.posteriors.exploration import Exploration, Setting
from dts_gym.problem.contexts import sample_size
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import LARGEST, finite_array, integer

_SEEN = 50  # contexts that an agent waits for where it knows none


class Exploring:
    """What has an exploration setting, and chooses one itself where that is "auto"."""

    problem: BanditProblem
    num_updates: int
    _plan: Plan
    _lock: threading.RLock
    _intercept: bool
    _explores_by: ClassVar[tuple[str, ...]] = ("draws",)  # the ways it may explore: "draws", "bounds" or both

    def _set_exploration(
        self, setting: Setting | None, horizon: int | None, contexts: Any, tuning_rounds: int | None
    ) -> dict[str, Any]:
        """Take in the settings; returns those that an agent saves with itself."""
        self._is_auto = isinstance(setting, str) and setting == "auto"
        own = None if self._is_auto else Exploration(setting, self._explores_by[-1] == "bounds")
        self._exploration = family(self._explores_by)[0] if own is None else own
        self._horizon = None if horizon is None else integer("horizon", horizon, 1)
        for name, value in (("contexts", contexts), ("tuning_rounds", tuning_rounds)):
            if value is not None and not self._is_auto:
                raise ValueError(f"{name} must be left out unless exploration is 'auto', got {value!r:.200}")
        self._told_contexts = None
        if contexts is not None:
            rows = finite_array("contexts", contexts, (None, *self.problem.context_shape), LARGEST)
            if not len(rows):
                raise ValueError(f"contexts must have a row or more, got shape {rows.shape}")
            self._told_contexts = rows
        self._tuning_rounds = None if tuning_rounds is None else integer("tuning_rounds", tuning_rounds, 1)
        self._tuning: ExplorationTuning | None = None
        kept = {"horizon": self._horizon, "contexts": self._told_contexts, "tuning_rounds": self._tuning_rounds}
        given = {name: value for name, value in kept.items() if value is not None}
        return {"exploration": "auto" if self._is_auto else self._exploration.setting, **given}

    @property
    def exploration(self) -> Setting:
        """The exploration that was set: a number, the name of a rule, "auto", or a function of ``(t, n)``."""
        return "auto" if self._is_auto else self._exploration.named(self._known_horizon)

    @property
    def exploration_scale(self) -> float:
        """The factor on posterior standard deviations in the next choice, and in estimates until then.

        Raises
        ------
        ValueError
            If the rule needs a horizon, and neither the agent nor a run nor the problem has set one.
        """
        t = 0 if self._plan.start is None else self.num_updates - self._plan.start
        K, d, shared = self.problem.num_actions, self.problem.dim, self.problem.features == "shared"
        return self._exploration.scale(t, self._known_horizon, num_actions=K, dim=d, shared=shared)

    @property
    def tuning(self) -> ExplorationTuning | None:
        """What was tried and chosen where ``exploration`` is "auto"; None before the choice, and for other settings."""
        return self._tuning

    @property
    def _by_bounds(self) -> bool:
        """Whether the next choice is by upper confidence bounds."""
        return self._exploration.by_bounds

    @property
    def _known_horizon(self) -> int | None:
        """The number of rewards that a rule plans for: the agent's own, else the run's, else the problem's."""
        return self._horizon or self._plan.num_rewards or self.problem.horizon

    def adopt_tuning(self, tuning: ExplorationTuning) -> None:
        """Follow a choice that an agent of equal settings made, on this or a like problem.

        Raises
        ------
        ValueError
            If ``exploration`` is not "auto", or the choice is none that this agent may make.
        """
        if not self._is_auto:
            raise ValueError(f"exploration must be 'auto' for a choice to adopt, got {self.exploration!r}")
        if tuning.choice not in family(self._explores_by):
            raise ValueError(f"tuning must choose what this agent may do, got {tuning.choice}")
        with self._lock:
            self._tuning = tuning
            self._exploration = tuning.choice

    def choose_exploration(self, seed: int = 0) -> ExplorationTuning | None:
        """Choose the exploration now, where it is "auto"; `act` does so at its first call otherwise.

        Returns
        -------
        ExplorationTuning or None
            None where ``exploration`` is not "auto", and while the agent knows no contexts.

        Raises
        ------
        ValueError
            If neither the agent nor a run nor the problem sets the number of rounds.
        """
        number = integer("seed", seed, 0)
        if not self._is_auto:
            return None
        with self._lock:
            n = self._known_horizon
            if n is None:
                raise ValueError(
                    "horizon must be given for exploration 'auto': neither the agent nor a run nor the problem sets "
                    "the number of rounds"
                )
            if self._tuning is None or self._tuning.num_rounds != n:
                contexts = self._believed_contexts()
                if contexts is None:
                    return None
                self.adopt_tuning(choose(self._pristine(), contexts, n, number, self._tuning_rounds))
            return self._tuning

    def _prepare(self, contexts: Array) -> None:
        """Choose the exploration before the first choice of an action; note contexts where none are known."""
        if not self._is_auto or (self._tuning is not None and self._tuning.num_rounds == self._known_horizon):
            return
        if self._believed_contexts() is None:
            rows = contexts if contexts.ndim > len(self.problem.context_shape) else contexts[None]
            rows = rows[..., : self.problem.dim]  # without the 1 of an intercept
            free = self._num_awaited - len(self._seen)
            self._seen = np.concatenate([self._seen, rows[:free]])
        self.choose_exploration()

    @property
    def _num_awaited(self) -> int:
        return min(_SEEN, sample_size(self.problem.context_shape))

    def _believed_contexts(self) -> Contexts | None:
        """Contexts like those to come, None while too few have been seen."""
        if self._told_contexts is not None:
            return Contexts(self._told_contexts, False)
        if self.problem.context_sample is not None:
            return Contexts(self.problem.context_sample, self.problem.fixed_context)
        return Contexts(self._seen, False) if len(self._seen) >= self._num_awaited else None

    @property
    def _awaits_contexts(self) -> bool:
        """Whether the exploration will be chosen when enough contexts have been seen."""
        return self._is_auto and self._tuning is None and self._believed_contexts() is None

    def _no_contexts(self) -> Array:
        return np.empty((0, *self.problem.context_shape))

    _seen: Array  # contexts seen where none are known otherwise

    def _pristine(self) -> Any:
        """An agent of the same settings that has learned nothing."""
        raise NotImplementedError

    def _follow(self, rule: Exploration) -> None:
        """Follow a rule, instead of what was set."""
        self._is_auto, self._exploration = False, rule

    def _kept_choices(self) -> Mapping[str, Any]:
        return {} if self._tuning is None else {"tuning": self._tuning.state()}

    def _take_choices(self, saved: Mapping[str, Any]) -> None:
        if self._is_auto and "tuning" in saved:
            self.adopt_tuning(ExplorationTuning.from_state(saved["tuning"]))
