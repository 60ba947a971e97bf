"""A short GIF of an agent that learns: its posterior of every action approaches the truth.

python examples/animation.py [ROUNDS] [FRAMES]
"""

import sys

import gymnasium as gym
from PIL import Image

import dts_gym
from dts_gym.callbacks import Round


def main(num_rounds: int = 400, num_frames: int = 40) -> None:
    """Write a GIF from frames that a callback of the run draws."""
    env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3, horizon=num_rounds, render_mode="rgb_array")
    agent = dts_gym.make_agent("dTS", env, seed=0)
    env.unwrapped.watch(agent)
    frames: list[Image.Image] = []

    def film(played: Round) -> None:
        if played.number % max(1, num_rounds // num_frames) == 0:
            frames.append(Image.fromarray(env.render()))

    dts_gym.run(env, agent, num_rounds, seed=0, callback=film)
    milliseconds = 1000 // env.metadata["render_fps"]
    frames[0].save("animation.gif", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    print(f"animation.gif: {len(frames)} frames")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
