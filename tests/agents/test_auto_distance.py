"""How far an agent's choice of its exploration is from the best of its own candidates, on instances it has not seen."""

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import choose_exploration, make_agent
from dts_gym.agents.auto.simulation import Contexts, rewards_of

PRIORS, INSTANCES, ROUNDS = 20, 60, 60


@pytest.mark.slow
def test_what_is_chosen_is_no_worse_than_any_one_candidate_over_many_priors(tmp_path, monkeypatch):
    """Each candidate is played on fresh instances of 20 priors, beside each prior's choice.

    The means over priors of paired differences are normal: one of the ten candidates is ahead by 4.5 standard errors
    once in 30 000 times, where the choice is as good.
    """
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path))
    behind = []  # (priors, candidates), mean reward of each candidate less the choice's
    for number in range(PRIORS):
        env = gym.make("DiffusionBandit-v0", num_actions=3, dim=2, horizon=ROUNDS, noise_std=0.2, prior_seed=number)
        problem = env.unwrapped.problem
        found = choose_exploration(problem, "dTS", tuning_rounds=45_000)
        agent, contexts = make_agent("dTS", problem, seed=0), Contexts(problem.context_sample, False)
        fresh = rewards_of(agent, found.rules, range(INSTANCES), contexts, ROUNDS, seed=1000 + number).mean(axis=1)
        behind.append(fresh - fresh[found.chosen])
    mean = np.mean(behind, axis=0)
    error = np.std(behind, axis=0, ddof=1) / np.sqrt(PRIORS)
    print("ahead of the choice:", dict(zip(map(str, found.rules), mean.round(2), strict=True)), error.round(2))
    assert (mean <= 4.5 * error + 1e-9).all()
    assert mean[0] < 0  # the choice has more than the default, which always choosing the default would not
