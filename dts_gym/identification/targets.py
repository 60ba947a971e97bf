"""Where rules look for the best action: a named problem, a problem, or an environment; and the runs on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from dts_gym.harness.provenance import describe
from dts_gym.identification.games import Game, PolicyGame, advance_together, env_game, posed_game
from dts_gym.identification.scores import checked_context
from dts_gym.identification.settings import SETTINGS, Posed, pose
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.wrappers import warn_of_wrappers
from dts_gym.registry import versioned
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import did_you_mean, plain


@dataclass(frozen=True)
class Target:
    """Where rules look for the best action.

    Parameters
    ----------
    what : an environment's id or the name of one of the paper's problems; a problem; or an environment.
    settings : arguments of ``gym.make``, or of the named problem.
    context : the context of every round; None: that of the named problem or of the environment.
    """

    what: str | BanditProblem | gym.Env[Any, Any]
    settings: Mapping[str, Any]
    context: Array | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.what if isinstance(self.what, str) else repr(self.what)

    def state(self) -> dict[str, Any]:
        """The target as JSON data."""
        parts = {"target": self.what, "settings": self.settings, "context": self.context}
        return {name: describe(name, part) for name, part in parts.items()}

    def game(self, seeds: Sequence[int]) -> Game:
        """The runs of these seeds; only of one seed where `groups` has each by itself."""
        if isinstance(self.what, BanditProblem):
            return posed_game([Posed(self.what, checked_context(self.what, self.context))] * len(seeds), seeds)
        if isinstance(self.what, gym.Env):
            return env_game(self.what, seeds, self.context)
        if self.what in SETTINGS:
            return posed_game([pose(self.what, self.settings, seed) for seed in seeds], seeds)
        return env_game(gym.make(self.what, disable_env_checker=True, **self.settings), seeds, self.context)

    def groups(self, seeds: Sequence[int]) -> list[list[int]]:
        """The seeds in groups whose runs advance together: all where the belief is exact, else each by itself."""
        if isinstance(self.what, str) and self.what in SETTINGS:
            return [list(seeds)]
        if isinstance(self.what, BanditProblem):
            together = advance_together(Posed(self.what, checked_context(self.what, self.context)))
        else:
            game = self.game(seeds[:1])
            together = not isinstance(game, PolicyGame) and hasattr(game.belief, "root")
        return [list(seeds)] if together else [[seed] for seed in seeds]


def checked_target(name: str, what: Any, settings: Mapping[str, Any] | None, context: Any) -> Target:
    """The target that an argument ``name`` describes; a warning of wrappers points at the caller's caller.

    Raises
    ------
    ValueError
        If there is no such problem or environment, or settings or context do not fit.
    """
    if not isinstance(settings or {}, Mapping):
        raise ValueError(f"env_settings must be a mapping of names to settings, got {settings!r:.200}")
    known = {key: plain(value) for key, value in dict(settings or {}).items()}
    if not isinstance(what, str):
        if not isinstance(what, BanditProblem | gym.Env):
            raise ValueError(f"{name} must be {_expected()}, got {what!r:.200}")
        if known:
            raise ValueError(f"env_settings must be left out but for an id or a name, got {sorted(known)}")
        if isinstance(what, BanditProblem):
            return Target(what, {}, checked_context(what, context))
        warn_of_wrappers(what, stacklevel=3)
        return Target(what, {}, context)
    if what in SETTINGS:
        if context is not None:
            raise ValueError(f"context must be None for {what!r}, which has its own, got {context!r:.100}")
        pose(what, known, 0)
        return Target(what, known, None)
    try:
        env_id = versioned(what)
        env = gym.make(env_id, disable_env_checker=True, **known)
    except gym.error.UnregisteredEnv as error:
        near = did_you_mean(what, SETTINGS) or f"; {error}"
        raise ValueError(f"{name} must be {_expected()}, got {what!r:.200}{near}") from error
    try:
        warn_of_wrappers(env, stacklevel=3)
        problem = getattr(env.unwrapped, "problem", None)
        fixed = None if context is None or problem is None else checked_context(problem, context)
    finally:
        env.close()
    return Target(env_id, known, fixed)


def _expected() -> str:
    return f"an environment or its id, a BanditProblem, or one of {list(SETTINGS)}"
