"""How much an agent explores, round by round: the scale of its posterior standard deviations as a function of time.

A constant scale explores for ever, but the horizon ends. A rule shrinks with the number of rounds left, so that no
agent has to be tuned. Bounds and draws need different rules: a bound needs a scale that grows with the number of
actions, a draw is spread by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from scipy.special import log_ndtr

from dts_gym.utils.validation import LARGEST, positive

BoundRule = Literal["horizon", "max"]
DrawRule = Literal["decay"]
Setting = float | BoundRule | DrawRule | Literal["auto"] | Callable[[int, int], float]

_LEAST = 0.05  # the least factor of a rule, at the horizon and past it


@dataclass(frozen=True)
class Exploration:
    """The exploration of an agent, as it was set.

    Parameters
    ----------
    setting : a positive number, the name of a rule, a function of ``(t, n)``, or None for the agent's own choice
        between "horizon", where the horizon is known, and "max".
    by_bounds : whether the agent uses upper confidence bounds; else it draws.
    factor : number that multiplies a rule's scale.

    Raises
    ------
    ValueError
        If the setting is none of these.

    Notes
    -----
    ``t`` is the number of rewards learned since the plan began, ``n`` the horizon, in rewards.

    - "horizon", for bounds: ``(1 - t / n) sqrt(log(1 + M n / d))``, with ``1 - t / n`` at least 0.05. M is the number
      of parameter vectors: K, or 1 where all actions share one.
    - "max", for bounds: the mean of the largest of K standard normal numbers, which needs no horizon.
    - "decay", for draws: ``1 - t / n``, at least 0.05.

    Examples
    --------
    >>> rule = Exploration("horizon", by_bounds=True)
    >>> [round(rule.scale(t, 1000, num_actions=100, dim=5), 3) for t in (0, 500, 1000)]
    [3.147, 1.573, 0.157]
    """

    setting: Setting | None
    by_bounds: bool
    factor: float = 1.0

    def __post_init__(self) -> None:
        if self.setting is None or callable(self.setting):
            return
        rules = get_args(BoundRule if self.by_bounds else DrawRule)
        if isinstance(self.setting, str):
            if self.setting not in rules:
                named = " or ".join(repr(rule) for rule in rules)
                kind = "bounds" if self.by_bounds else "draws"
                raise ValueError(
                    f"exploration must be a positive finite number, {named} for an agent that explores by {kind}, or "
                    f"a function of (t, n), got {self.setting!r}"
                )
            return
        object.__setattr__(self, "setting", positive("exploration", self.setting, LARGEST))

    def __str__(self) -> str:
        what = "bounds" if self.by_bounds else "draws"
        if isinstance(self.setting, float):
            return f"{what} at {self.setting:g}"
        name = getattr(self.setting, "__name__", None) or str(self.setting)
        return f"{what} by {name!r}" + ("" if self.factor == 1.0 else f" times {self.factor:g}")

    @property
    def is_constant(self) -> bool:
        """Whether the scale is a number."""
        return isinstance(self.setting, float)

    def named(self, n: int | None) -> Setting:
        """The setting, with the agent's own choice made for a horizon of ``n`` (None: unknown)."""
        if self.setting is None:
            return "max" if n is None else "horizon"
        return self.setting

    def scale(self, t: int, n: int | None, *, num_actions: int, dim: int, shared: bool = False) -> float:
        """The scale of the next choice; ``shared`` says whether all actions share one parameter vector.

        Raises
        ------
        ValueError
            If the rule needs a horizon and there is none, or a function returns no positive number.
        """
        setting = self.named(n)
        if isinstance(setting, float):
            return setting
        if setting == "max":
            return self.factor * largest_normal_mean(num_actions)
        if n is None:
            raise ValueError(
                f"horizon must be given for exploration {setting!r}: neither the agent nor a run nor the problem sets "
                "the number of rounds"
            )
        t = min(t, n)
        if callable(setting):
            return positive(f"exploration({t}, {n})", setting(t, n), LARGEST)
        left = max(1.0 - t / n, _LEAST)
        if setting == "decay":
            return self.factor * left
        return self.factor * left * math.sqrt(math.log1p((1 if shared else num_actions) * n / dim))


def stepped(scale: float) -> float:
    """The nearest scale of a geometric sequence, 40 steps from 1 to 0.05.

    Examples
    --------
    >>> stepped(1.0), round(stepped(0.5), 3), len({stepped(0.05 + 0.95 * i / 999) for i in range(1000)})
    (1.0, 0.51, 41)
    """
    step = math.log(1.0 / _LEAST) / 40
    return math.exp(step * round(math.log(scale) / step)) if scale > 0 else 0.0


@lru_cache(maxsize=64)
def largest_normal_mean(count: int) -> float:
    """The mean of the largest of ``count`` standard normal numbers.

    Notes
    -----
    Computed by the trapezium rule on the distribution function, to about 1e-12 for any count up to 10^15: that
    function's derivatives vanish at both ends, so the rule converges faster than any power of its step.

    Examples
    --------
    >>> [round(largest_normal_mean(count), 4) for count in (1, 2, 100)]
    [0.0, 0.5642, 2.5076]
    """
    low, high, step = -12.0, 12.0, 1.0 / 256
    x = np.arange(low, high + step / 2, step)
    below = np.exp(count * log_ndtr(x))
    return float(high - step * (below.sum() - (below[0] + below[-1]) / 2))
