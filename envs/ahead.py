"""What no play changes, for many instances at once: a block of rounds drawn ahead, and the actions that are allowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.envs.base import BanditEnv, Episode
from dts_gym.posteriors.unplayed import allowed_scores
from dts_gym.utils.arrays import BoolArray, IntArray


class RoundsAhead:
    """The next rounds of N instances, as arrays whose first axis is the round.

    Parameters
    ----------
    envs : N environments of the same sizes, which contexts, noise and masks are drawn from.
    length : number of rounds in the block.

    Attributes
    ----------
    at : place in the block of the present round, ``length`` once all were played.
    contexts : (length, N, ...) float32.
    noise : (length, N), from which the reward model makes rewards.
    best, possible : (length, N) best allowed action and its mean reward; left undefined without ``regret_info``.
    """

    def __init__(self, envs: Sequence[BanditEnv], length: int) -> None:
        self._envs = envs
        problem, shape = envs[0].problem, (length, len(envs))
        self.at, self.length = 0, length
        self.contexts = np.empty((*shape, *problem.context_shape), dtype=np.float32)
        self.noise, self.possible = np.empty(shape), np.empty(shape)
        self.best = np.empty(shape, dtype=np.int64)

    def draw(self, i: int, episode: Episode, number: int) -> None:
        """Draw instance i's rounds from the present one on, which is the episode's round of that number."""
        env, start, count = self._envs[i], self.at, self.length - self.at
        model = env.problem.reward_model
        contexts = env.next_contexts(episode, count)
        self.contexts[start:, i] = contexts
        self.noise[start:, i] = model.draw_noise(episode.noise, (count,))
        if env.regret_info:
            x, theta = contexts.astype(np.float64, order="C"), episode.instance.parameters
            scores = episode.instance.linear_predictors(x)
            best = allowed_scores(scores, env.masks(np.arange(number, number + count))).argmax(axis=-1)
            # The same formula as for the played action, so that the best action has a regret of exactly zero.
            shared = env.problem.features == "shared"
            predictors = np.vecdot(x[np.arange(count), best], theta) if shared else np.vecdot(theta[best], x)
            self.best[start:, i] = best
            self.possible[start:, i] = model.mean(predictors)


def masks_of(envs: Sequence[BanditEnv], rounds: IntArray) -> BoolArray | None:
    """The actions that N instances allow, (N, K), each in its round of ``rounds`` (N,); None where all allow all."""
    if envs[0] is envs[-1]:  # one for all instances
        return envs[0].masks(rounds)
    masks = [env.masks(rounds[i : i + 1]) for i, env in enumerate(envs)]
    known = [mask for mask in masks if mask is not None]
    return np.concatenate(known) if known else None
