"""Agents that play an instance each, as one learner for all of a vector environment's rows."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from dts_gym.harness.masks import play
from dts_gym.utils.arrays import IntArray


class Team:
    """Agents one by one, as a context manager: row i of contexts, masks and rewards is agent i's.

    Until the end of the ``with`` block the agents belong to the team: their states are those of before or of after.

    Parameters
    ----------
    agents : R different agents.
    """

    def __init__(self, agents: Sequence[Any]) -> None:
        self.agents = list(agents)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the agents as if each had played by itself; also after an exception."""

    def act(self, contexts: Any, mask: Any = None) -> IntArray:
        """Pick an action for each row of contexts, (R,)."""
        masks = [None] * len(self.agents) if mask is None else mask
        return np.array([play(*one) for one in zip(self.agents, contexts, masks, strict=True)], dtype=np.int64)

    def update(self, contexts: Any, actions: Any, rewards: Any) -> None:
        """Learn a reward in each row."""
        for agent, x, a, y in zip(self.agents, contexts, actions, rewards, strict=True):
            agent.update(x, a, y)

    def update_some(self, contexts: Any, actions: Any, rewards: Any, known: Any) -> None:
        """Learn a reward in each row where ``known``, (R,) booleans, is true; agents one by one, never stacked ones."""
        for i in np.flatnonzero(known).tolist():
            self.agents[i].update(contexts[i], actions[i], rewards[i])


def team_of(agents: Sequence[Any]) -> Team:
    """The agents as a team; stacked where that pays, see ``dts_gym.agents.Agent.together``."""
    together = getattr(agents[0], "together", None)
    team = Team(agents) if together is None else together(agents)
    assert isinstance(team, Team)
    return team


def advance_together(agents: Sequence[Any]) -> bool:
    """Whether a team of such agents is stacked."""
    return type(team_of(agents)) is not Team
