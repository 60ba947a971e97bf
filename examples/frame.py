"""A picture of an environment in mid-episode, as its render mode "rgb_array" draws it.

python examples/frame.py ID FILE.png ROUNDS [NAME=VALUE ...]
"""

import sys

import gymnasium as gym
import yaml
from PIL import Image

import dts_gym


def main(env_id: str, path: str, num_rounds: int, **settings: object) -> None:
    """Let dTS play some rounds, and draw what it believes beside the truth."""
    env = gym.make(env_id, render_mode="rgb_array", **settings)
    agent = dts_gym.make_agent("dTS", env, seed=0)
    env.unwrapped.watch(agent)
    dts_gym.run(env, agent, num_rounds, seed=0)
    Image.fromarray(env.render()).quantize(64).save(path)
    print(f"{path}: {env_id} after {num_rounds} rounds")


if __name__ == "__main__":
    options = (word.split("=", 1) for word in sys.argv[4:])
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), **{name: yaml.safe_load(value) for name, value in options})
