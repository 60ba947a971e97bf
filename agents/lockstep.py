"""Agents with stacked posteriors: many runs advance as one array."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np

from dts_gym.harness.teams import Team
from dts_gym.posteriors.lockstep.run_choices import RunChoices
from dts_gym.posteriors.lockstep.stacking import runs_class
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import finite_array, integers

# Numbers in the packed matrices of all K actions, up to which a round of stacked tables is faster than a round of each:
# above, reading them takes the time, and single tables hold the played actions alone.
_PAYS_UP_TO = 1 << 16


def team_of_agents(agents: Sequence[Any]) -> Team:
    """The agents as one team, with stacked posteriors where that is possible and pays."""
    return StackedTeam(agents) if _stackable(agents) else Team(agents)


def _stackable(agents: Sequence[Any]) -> bool:
    first = agents[0]
    own = type(first).__module__.startswith("dts_gym.agents.")  # a subclass of the user's may choose in another way
    if (
        not own
        or not first.is_by_scores
        or any(type(agent) is not type(first) or agent._intercept != first._intercept for agent in agents)
    ):
        return False
    if runs_class([agent._posterior for agent in agents]) is None:
        return False
    table = first._posterior.table
    return bool(first.problem.num_actions * table.packed_dim <= _PAYS_UP_TO)


class StackedTeam(Team):
    """Agents whose posteriors can be stacked, for the time of the ``with`` block.

    Choices and what is learned are those of the agents one by one, up to rounding, with the same random draws. The
    agents are locked until the end of the block; their posteriors then hold what was learned, also after an exception.
    From the first reward on for which a posterior needs more than double precision, the agents go on one by one.
    """

    def __enter__(self) -> Self:
        self._held = ExitStack()
        for agent in self.agents:
            self._held.enter_context(agent._lock)
        for agent in self.agents:
            agent._begin_plan()
        posteriors = [agent._posterior for agent in self.agents]
        kind = runs_class(posteriors)
        self._runs: RunChoices[Any] | None = None if kind is None else kind(posteriors)
        self._by_bounds = bool(self.agents[0]._by_bounds)
        self._rngs = [agent._rngs["act"] for agent in self.agents]
        plans = {
            (agent.exploration, agent._known_horizon, agent.num_updates - agent._plan.start) for agent in self.agents
        }
        self._alike = len(plans) == 1  # then the scales stay equal, as all learn a reward a round
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part()
        self._held.close()

    def _part(self) -> None:
        if self._runs is not None:
            self._runs.part()
            self._runs = None

    def act(self, contexts: Any, mask: Any = None) -> IntArray:
        runs = self._runs
        if runs is None:
            return super().act(contexts, mask)
        first = self.agents[0]
        x = first._check_context(contexts)
        allowed = first._check_mask(mask, x)
        if allowed is not None and allowed.ndim == 1:
            allowed = np.broadcast_to(allowed, (len(x), len(allowed)))
        return (runs.upper_confidence if self._by_bounds else runs.thompson)(x, self._rngs, self._scales(), allowed)

    def update(self, contexts: Any, actions: Any, rewards: Any) -> None:
        if self._runs is None:
            super().update(contexts, actions, rewards)
            return
        first = self.agents[0]
        x = first._check_context(contexts)
        a = integers("action", actions, len(x), first.problem.num_actions)
        y = finite_array("reward", rewards, (len(x),))
        checked = first.reward_model.check_all(y)
        if not self._runs.update(x, a, checked):
            self._part()
            super().update(contexts, actions, rewards)
            return
        for i, agent in enumerate(self.agents):
            agent.num_updates += 1
            if agent._first is not None:
                agent._look_at(x[i : i + 1], a[i : i + 1], checked[i : i + 1])

    def _scales(self) -> Array:
        if self._alike:
            return np.full(len(self.agents), self.agents[0].exploration_scale)
        return np.array([agent.exploration_scale for agent in self.agents])
