"""Agents with stacked posteriors: many runs advance as one array."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np

from dts_gym.harness.teams import Team
from dts_gym.posteriors.lockstep.stacking import Runs, stacker
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import finite_array, integers

# Numbers in the packed matrices of all K actions, or in the features of actions that share a parameter, up to which a
# round of stacked posteriors is faster than a round of each: above, reading them takes the time, and single tables hold
# the played actions alone.
_PAYS_UP_TO = 1 << 16


def team_of_agents(agents: Sequence[Any]) -> Team:
    """The agents as one team, with stacked posteriors where that is possible and pays."""
    return StackedTeam(agents) if _stackable(agents) else Team(agents)


def _stackable(agents: Sequence[Any]) -> bool:
    first = agents[0]
    own = type(first).__module__.startswith("dts_gym.agents.")  # a subclass of the user's may choose in another way
    if not own or not first.is_by_scores or any(_kind(agent) != _kind(first) for agent in agents):
        return False
    if any(agent._awaits_contexts or getattr(agent, "adapt_scale", False) for agent in agents):
        return False  # their posteriors are replaced as they play, or it is not known yet how they choose
    posterior, K = first._posterior, first.problem.num_actions
    if stacker([agent._posterior for agent in agents]) is None:
        return False
    shares = isinstance(posterior, SharedParameterPosterior)
    return bool(K * (first.problem.dim if shares else posterior.table.packed_dim) <= _PAYS_UP_TO)


def _kind(agent: Any) -> tuple[object, ...]:
    """What is equal of agents that choose in the same way, from contexts of the same sizes."""
    return type(agent), agent._intercept, agent.problem.context_shape, agent.problem.num_actions


class StackedTeam(Team):
    """Agents whose posteriors can be stacked, for the time of the ``with`` block.

    Choices and what is learned are those of the agents one by one, up to rounding, with the same random draws. The
    agents are locked until the end of the block; their posteriors then hold what was learned, also after an exception.
    Agents that draw and agents that use bounds are stacked apart. From the first reward on for which a posterior needs
    more than double precision, the agents that are stacked with it go on one by one.
    """

    def __enter__(self) -> Self:
        self._held = ExitStack()
        for agent in self.agents:
            self._held.enter_context(agent._lock)
        try:
            for agent in self.agents:
                agent.choose_exploration()
                agent._begin_plan()
            by_bounds = np.array([agent._by_bounds for agent in self.agents])
            self._stacks = [_Stack(self.agents, rows, way) for way in (True, False) if (rows := _rows(by_bounds, way))]
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stack in self._stacks:
            stack.part()
        self._held.close()

    def act(self, contexts: Any, mask: Any = None) -> IntArray:
        first = self.agents[0]
        x = first._check_context(contexts)
        allowed = first._check_mask(mask, x)
        if allowed is not None and allowed.ndim == 1:
            allowed = np.broadcast_to(allowed, (len(x), len(allowed)))
        chosen = np.empty(len(self.agents), dtype=np.int64)
        for stack in self._stacks:
            own = None if allowed is None else allowed[stack.rows]
            if stack.runs is None:
                raw = np.asarray(contexts)[stack.rows]
                chosen[stack.rows] = Team(stack.agents).act(raw, None if mask is None else own)
            else:
                chosen[stack.rows] = stack.act(x[stack.rows], own)
        return chosen

    def update(self, contexts: Any, actions: Any, rewards: Any) -> None:
        first = self.agents[0]
        x = first._check_context(contexts)
        a = integers("action", actions, len(x), first.problem.num_actions)
        y = finite_array("reward", rewards, (len(x),))
        checked = first.reward_model.check_all(y)
        for stack in self._stacks:
            if not stack.update(x[stack.rows], a[stack.rows], checked[stack.rows]):
                Team(stack.agents).update(np.asarray(contexts)[stack.rows], a[stack.rows], checked[stack.rows])


class _Stack:
    """Those of a team's agents that explore in the same way; one by one where ``runs`` is None."""

    def __init__(self, agents: Sequence[Any], rows: list[int], by_bounds: bool) -> None:
        self.rows = np.array(rows)
        self.agents = [agents[row] for row in rows]
        posteriors = [agent._posterior for agent in self.agents]
        stack = stacker(posteriors)
        assert stack is not None  # the whole team's posteriors can be stacked
        self.runs: Runs | None = stack(posteriors)
        self._choose = self.runs.upper_confidence if by_bounds else self.runs.thompson
        self._rngs = [agent._rngs["act"] for agent in self.agents]
        plans: dict[Any, int] = {}  # agents of one plan have equal scales, as all learn a reward a round
        numbers = []
        for agent in self.agents:
            plan = (agent._exploration, agent._known_horizon, agent.num_updates - agent._plan.start)
            numbers.append(plans.setdefault(plan, len(plans)))
        self._plan_of = np.array(numbers)
        self._planning = [self.agents[numbers.index(number)] for number in range(len(plans))]

    def act(self, contexts: Array, mask: BoolArray | None) -> IntArray:
        scales = np.array([agent.exploration_scale for agent in self._planning])
        return self._choose(contexts, self._rngs, scales[self._plan_of], mask)

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        """Learn a reward in every run; False, with nothing learned, where the agents are to do it one by one."""
        if self.runs is None or not self.runs.update(contexts, actions, rewards):
            self.part()
            return False
        for i, agent in enumerate(self.agents):
            agent.num_updates += 1
            if agent._first is not None:
                agent._look_at(contexts[i : i + 1], actions[i : i + 1], rewards[i : i + 1])
        return True

    def part(self) -> None:
        if self.runs is not None:
            self.runs.part()
            self.runs = None


def _rows(by_bounds: BoolArray, way: bool) -> list[int]:
    return np.flatnonzero(by_bounds == way).tolist()
