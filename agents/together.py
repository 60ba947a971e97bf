"""Many agents as one learner, each with a run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dts_gym.harness.teams import Team


class Together:
    """What can play as one of a team."""

    @staticmethod
    def together(agents: Sequence[Any]) -> Team:
        """Agents that play a run each, as one learner for rows of contexts, actions and rewards.

        `dts_gym.run` calls this for the agents of a vector environment. Posteriors of linear chains are stacked, under
        Gaussian rewards, clicks or counts, and under Gaussian rewards those of chains by particles whose levels are all
        shared, if they are of the same sizes and small enough. Then a round is a few operations on arrays: choices and
        what is learned are those of the agents one by one, up to rounding, with the same random draws. Actions may have
        parameters of their own or share one.

        Parameters
        ----------
        agents : R different agents.

        Returns
        -------
        Team
            A context manager with ``act(contexts, mask)`` and ``update(contexts, actions, rewards)``. Within the block
            the agents belong to the team; they hold what was learned at its end, also after an exception.

        Examples
        --------
        >>> import numpy as np
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> problem = BanditProblem(3, 2, random_linear_prior(2, 1), GaussianReward())
        >>> agents = [make_agent("dTS", problem, seed=i) for i in range(4)]
        >>> with agents[0].together(agents) as team:
        ...     team.update(np.ones((4, 2)), team.act(np.ones((4, 2))), np.zeros(4))
        >>> [agent.num_updates for agent in agents]
        [1, 1, 1, 1]
        """
        from dts_gym.agents.lockstep import team_of_agents

        return team_of_agents(agents)
