"""A short GIF of an agent that learns: its beliefs about every action close in on the truth.

python examples/animation.py [ROUNDS] [FRAMES] [AGENT]
"""

import sys

import gymnasium as gym
import numpy as np
from PIL import Image

import dts_gym
from dts_gym.callbacks import Round

COLOURS = 24  # few colours make a small file


def main(num_rounds: int = 600, num_frames: int = 20, agent_id: str = "dTS") -> None:
    """Take a frame after some of the rounds, more of them early, when most is learned, by a callback of the run."""
    env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3, horizon=num_rounds, render_mode="rgb_array")
    agent = dts_gym.make_agent(agent_id, env, seed=0)
    env.unwrapped.watch(agent)
    shown = np.unique(np.geomspace(1, num_rounds, num_frames).round())
    frames: list[Image.Image] = []

    def film(played: Round) -> None:
        if played.number in shown:
            frames.append(Image.fromarray(env.render()).quantize(COLOURS))

    dts_gym.run(env, agent, num_rounds, seed=0, callback=film)
    milliseconds = [400] * (len(frames) - 1) + [3000]  # the last frame stays
    frames[0].save("animation.gif", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    print(f"animation.gif: {len(frames)} frames")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:4])
