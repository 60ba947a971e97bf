"""stable-baselines3 beside this package: evaluate an agent with its tools, run its PPO with ours.

python examples/sb3_ppo.py [INTERACTIONS]
"""

import sys

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import dts_gym
from dts_gym.integrations.sb3 import AgentModel, RegretCallback, SB3Policy


def main(interactions: int = 5000) -> None:
    """Let dTS and PPO learn one instance from equally many interactions, all counted."""
    torch.set_num_threads(1)  # networks this small are slower on many
    settings = {"num_actions": 10, "dim": 5, "horizon": 1000, "instance_seed": 0}
    env, other = (Monitor(gym.make("DiffusionBandit-v0", **settings)) for _ in range(2))

    # gamma 0: contexts do not depend on actions.
    ppo_regret = RegretCallback()
    ppo = PPO("MlpPolicy", env, gamma=0.0, n_steps=250, batch_size=50, seed=0, device="cpu")
    ppo.learn(interactions, callback=ppo_regret)

    # An agent in SB3's training loop, with SB3's callbacks; `dts_gym.run` would do the same without SB3.
    agent, agent_regret = dts_gym.make_agent("dTS", env, seed=0), RegretCallback()
    evaluation = EvalCallback(other, eval_freq=max(1, interactions // 2), n_eval_episodes=1, verbose=0)
    AgentModel(agent, env, seed=0).learn(interactions, callback=[agent_regret, evaluation])

    fresh = gym.make("DiffusionBandit-v0", **settings)
    for name, model, counted in (("dTS", agent, agent_regret), ("PPO", ppo, ppo_regret)):
        learned = counted.regret[interactions - 1]
        # Neither learns any more: `predict` never learns, and SB3Policy plays by `predict`.
        after = dts_gym.run(fresh, SB3Policy(model), 1000, seed=1).regret[-1] / 1000
        reward, _ = evaluate_policy(model, other, n_eval_episodes=1)
        print(f"{name}: regret {learned:.0f} while learning, {after:.3f} a round after; episode reward {reward:.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
