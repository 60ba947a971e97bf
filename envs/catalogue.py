"""The bandit of a catalogue that lives: items with features leave and others arrive."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.diffusion import RewardKind, rewards_of
from dts_gym.envs.vector import vector_maker
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.contexts import FeatureLaw, checked_feature_law, draw_features
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.utils.arrays import BoolArray, IntArray
from dts_gym.utils.memory import refuse_larger
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import LARGEST, fraction, integer, number


class LiveActions(gym.spaces.Discrete):
    """The K items that ever live; a sample is one that lives now, unless a mask or probabilities say otherwise."""

    live: Any = None  # (K,) int8, or None: all

    def sample(self, mask: Any = None, probability: Any = None) -> np.int64:
        """Draw an item, by default uniformly from those that live."""
        return super().sample(self.live if mask is None and probability is None else mask, probability)


class CatalogueBanditEnv(BanditEnv):
    """A contextual bandit whose actions are items with features, of which some leave and others arrive.

    ## Description
    A catalogue holds ``num_live`` items at a time. After every ``every`` rounds a share ``change`` of them leaves for
    good, drawn at random, and as many new items arrive. An action is an item: K counts all that ever live in an
    episode, in the order of their arrival, and no number is used again.

    Every item has features ``z_a``, p standard normal numbers, that are known from the start, as
    ``problem.item_features``; ``problem.action_names`` have the round from which it lives. They, and which items live
    when, are drawn once, from ``prior_seed``. At reset a matrix ``B`` and every item's own part ``delta_a`` are drawn,
    and items have the parameters ``theta_a = B z_a + delta_a``: the problem's prior is that
    `dts_gym.MixedEffectPrior`. Every round shows a context ``x`` and pays a noisy reward of mean ``x' theta_a``.

    ## Action Space
    ``Discrete(K)``, K = ``num_live`` and the number that arrive. ``info["action_mask"]``, (K,) int8, from the reset on,
    has ones for the items that live in the round to come; another item is refused. The space samples living items.

    ## Observation Space
    ``Box(-1, 1, (dim,), float32)``: contexts, drawn as ``feature_law`` says.

    ## Rewards
    ``N(x' theta_a, noise_std^2)``, or Bernoulli or Poisson as in `DiffusionBandit-v0`. ``info`` holds
    ``expected_reward``, ``optimal_action`` (the best of the items that live), ``regret`` against it and
    ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``num_live=50``: number of items that live at a time.
    - ``change=0.1``: share of them that leaves and is replaced at a change, rounded to one item or more; 0: none ever.
    - ``every=250``: number of rounds from one change to the next.
    - ``num_features=4``: p, the number of an item's features.
    - ``dim=5``: d, the dimension of contexts and parameters.
    - ``horizon=5000``: number of rounds of an episode.
    - ``noise_std=1.0``: standard deviation of Gaussian rewards.
    - ``reward="gaussian"``: reward family, ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``.
    - ``feature_std=1.0``: standard deviation that the features bring to each coordinate of a parameter: the entries of
      ``B`` have variance ``feature_std^2 / p``.
    - ``item_std=0.5``: standard deviation of each coordinate of ``delta_a``, what the features leave open.
    - ``feature_law="cube"``: distribution of contexts: uniform on the cube [-1, 1]^d, in the unit ``"ball"`` or on its
      ``"sphere"``.
    - ``prior_seed=0``: seed for the features and the schedule of the items, which exist before the first reset.
    - ``instance_seed=None``: seed that pins the instance over resets; None draws a new instance at every reset.
    - ``regret_info=True``: whether ``info`` reports the expected reward, the best action and the regret, at O(K d) a
      step.
    - ``render_mode=None``: None, ``"rgb_array"`` or ``"human"`` (a window); frames show the truth of all K items, the
      regret and the agent given to `watch`.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        num_live: int = 50,
        change: float = 0.1,
        every: int = 250,
        num_features: int = 4,
        dim: int = 5,
        horizon: int = 5000,
        noise_std: float = 1.0,
        reward: RewardKind = "gaussian",
        feature_std: float = 1.0,
        item_std: float = 0.5,
        feature_law: FeatureLaw = "cube",
        prior_seed: int = 0,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        live, p, d = integer("num_live", num_live, 1), integer("num_features", num_features, 1), integer("dim", dim, 1)
        share, period = fraction("change", change, ends=True), integer("every", every, 1)
        rounds = integer("horizon", horizon, 1)
        leaving = max(1, round(share * live)) if share > 0 else 0
        times = np.arange(period, rounds, period) if leaving else np.arange(0)
        K = live + leaving * len(times)
        refuse_larger("num_live, change and horizon", f"{K} items of {p} features and {d} parameters", 16 * K * (p + d))
        self.feature_law = checked_feature_law(feature_law)
        rng = stream(integer("prior_seed", prior_seed, 0), "prior")
        features = rng.standard_normal((K, p))
        self._arrival = np.concatenate([np.zeros(live, dtype=np.int64), np.repeat(times, leaving)])
        self._departure = _departures(rng, live, leaving, times)
        spread = _std("feature_std", feature_std) ** 2 / p
        prior = MixedEffectPrior(features, spread * np.eye(p * d), _std("item_std", item_std) ** 2 * np.eye(d))
        problem = BanditProblem(
            K,
            d,
            prior,
            rewards_of(reward, noise_std),
            horizon=rounds,
            item_features=features,
            action_names=[f"item {a} (round {since})" for a, since in enumerate(self._arrival.tolist())],
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)
        self.action_space = LiveActions(K)
        self._offered(0)

    def masks(self, rounds: IntArray) -> BoolArray:
        """Return the items that live in rounds of an episode, (n, K) booleans; see `BanditEnv.masks`."""
        number = rounds[:, None]
        return (self._arrival <= number) & (number < self._departure)

    def _offered(self, number: int) -> dict[str, Any]:
        told = super()._offered(number)
        space: Any = self.action_space
        space.live = told["action_mask"].copy()  # whoever receives the info may change it
        return told

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(-1.0, 1.0, (self.problem.dim,), np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        return BanditInstance(self.problem.prior.sample(rng, self.problem.num_actions), self.problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return draw_features(self.feature_law, self.problem.context_shape, rng, count)


make_vector = vector_maker(CatalogueBanditEnv)


def _departures(rng: np.random.Generator, num_live: int, leaving: int, times: IntArray) -> IntArray:
    """The round from which each item is gone, (K,), items numbered as they arrive; the largest number if it stays."""
    gone = np.full(num_live + leaving * len(times), np.iinfo(np.int64).max)
    live = np.arange(num_live)
    for i, time in enumerate(times.tolist()):
        places = rng.choice(num_live, leaving, replace=False)
        gone[live[places]] = time
        live[places] = num_live + leaving * i + np.arange(leaving)
    return gone


def _std(name: str, value: float) -> float:
    if not 0 <= (std := number(name, value)) <= LARGEST:
        raise ValueError(f"{name} must be in 0..{LARGEST:g}, got {value!r:.200}")
    return std
