"""One agent on one bandit: play, learn, read its posterior, save it and go on.

python examples/quickstart.py [ROUNDS]
"""

import sys
import tempfile
from pathlib import Path

import gymnasium as gym

import dts_gym


def main(num_rounds: int = 2000) -> None:
    """Run dUCB, whose bounds fall over the horizon, dTS and LinTS on the same instance, contexts and noise."""
    env = gym.make("DiffusionBandit-v0", num_actions=100, dim=5, depth=2)
    agents = {name: dts_gym.make_agent(name, env, seed=0) for name in ("dUCB", "dTS", "LinTS", "Random")}
    for name, agent in agents.items():
        result = dts_gym.run(env, agent, num_rounds, seed=0)
        print(f"{name:>7}: regret {result.regret[-1]:.1f}, {result.microseconds_per_round:.0f} µs a round")

    # The agent's posterior of every action on a context, and the truth, which only the environment knows.
    context, _ = env.reset(seed=0)
    truth = env.unwrapped.instance.expected_rewards(context)
    mean, std = agents["dTS"].marginals(context)
    best = int(truth.argmax())
    print(f"best action {best}: {truth[best]:.2f}, dTS believes {mean[best]:.2f} ± {std[best]:.2f}")

    # A saved agent continues bit for bit; `predict` is greedy and never learns.
    with tempfile.TemporaryDirectory() as folder:
        agents["dTS"].save(Path(folder) / "dts.npz")
        loaded = dts_gym.agents.DiffusionTS.load(Path(folder) / "dts.npz")
    assert loaded.act(context) == agents["dTS"].act(context)
    print(f"greedy action {loaded.predict(context, deterministic=True)[0]} after {loaded.num_updates} rounds")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
