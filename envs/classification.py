"""Classification as a bandit: the action is a class, and only its being right is told."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from dts_gym.envs.base import Observation
from dts_gym.envs.rows import RowsEnv, rows_vector_maker
from dts_gym.priors.chains import LinearDiffusionPrior, as_prior
from dts_gym.priors.prior import Prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import BernoulliReward
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.extras import missing_extra
from dts_gym.utils.validation import LARGEST, as_float64, boolean, choice, finite_array, fraction, integer

DATA = ("digits", "wine", "breast_cancer")


class ClassificationBanditEnv(RowsEnv):
    """A contextual bandit made of a classification problem: which of K classes is this example of?

    ## Description
    A round shows the features of an example, drawn with replacement, and pays 1 if the action is its class. So a
    classifier has to be learned from partial information. With ``label_noise`` the class of a round is replaced, with
    that probability, by one drawn uniformly.

    Features are standardised and divided by the square root of their number, constant ones are left out, and a
    trailing 1 is added; with ``dim`` they are first projected on their principal components.

    ## Action Space
    ``Discrete(num_classes)``.

    ## Observation Space
    ``Box(lowest, highest, (dim,), float32)``: the features.

    ## Rewards
    0 or 1. ``info`` holds ``expected_reward``, ``optimal_action``, ``regret``, ``cumulative_regret`` (unless
    ``regret_info=False``), in expectation over the label noise.

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``data="digits"``: a data set of scikit-learn (extra ``classification``): ``"digits"``, ``"wine"`` or
      ``"breast_cancer"``; not used if X and y are given.
    - ``X=None``: features (n, p) of examples of your own, given with y.
    - ``y=None``: their classes (n,), any integers.
    - ``dim=None``: number of numbers that a context has, the trailing 1 included; None: all features.
    - ``label_noise=0.0``: probability that a round's class is replaced by a random one.
    - ``horizon=5000``: number of rounds of an episode.
    - ``prior=None``: a prior of your own, or a file of one; None: a chain of one identity link, both levels with
      covariance 2 I.
    - ``regret_info=True``: whether ``info`` reports the expected reward, the best action and the regret.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        data: str = "digits",
        X: Any = None,
        y: Any = None,
        dim: int | None = None,
        label_noise: float = 0.0,
        horizon: int = 5000,
        prior: Prior | str | os.PathLike[str] | None = None,
        regret_info: bool = True,
    ) -> None:
        features, labels = _examples(data, X, y)
        contexts = _contexts(features, dim)
        self.classes, self._labels = np.unique(labels, return_inverse=True)
        K, d = len(self.classes), contexts.shape[1]
        if K < 2:
            raise ValueError(f"y must have two classes or more, got {K}")
        self.label_noise = fraction("label_noise", label_noise, ends=True)
        self.regret_info = boolean("regret_info", regret_info)
        eye = np.eye(d)
        chain = LinearDiffusionPrior([eye], [2 * eye, 2 * eye]) if prior is None else as_prior(prior)
        super().__init__(
            BanditProblem(K, d, chain, BernoulliReward(), "disjoint", integer("horizon", horizon, 1)), contexts
        )

    @property
    def contexts(self) -> Observation:
        """(n, d) float32 contexts of all examples; agents must not look at them."""
        return self._contexts

    @property
    def labels(self) -> IntArray:
        """(n,) classes of all examples, as actions."""
        return np.asarray(self._labels, dtype=np.int64)

    def _draw_order(self, rng: np.random.Generator) -> IntArray:
        return rng.integers(len(self._contexts), size=self.horizon)

    def _pay(self, row: int, action: int, rng: np.random.Generator) -> tuple[float, dict[str, Any]]:
        K, label = self.problem.num_actions, int(self._labels[row])
        replaced, other = rng.random() < self.label_noise, int(rng.integers(K))
        reward = float(action == (other if replaced else label))
        if not self.regret_info:
            return reward, {}
        wrong = self.label_noise / K
        right = 1.0 - self.label_noise + wrong
        expected = right if action == label else wrong
        regret = max(right, wrong) - expected
        self._cumulative_regret += regret
        return reward, {
            "expected_reward": expected,
            "optimal_action": label,
            "regret": regret,
            "cumulative_regret": self._cumulative_regret,
        }


make_vector = rows_vector_maker(ClassificationBanditEnv)


def _examples(data: str, X: Any, y: Any) -> tuple[Array, IntArray]:
    """Features (n, p) and classes (n,)."""
    if (X is None) != (y is None):
        raise ValueError(f"X and y must be given together, got {'y' if X is None else 'X'} alone")
    if X is not None:
        features = finite_array("X", X, (None, None), LARGEST)
        labels = as_float64("y", y)
        if labels.shape != (len(features),) or not (labels == np.floor(labels)).all():
            raise ValueError(f"y must be {len(features)} integers, got shape {labels.shape}")
        return features, labels.astype(np.int64)
    choice("data", data, DATA)
    try:
        from sklearn import datasets
    except ImportError as error:
        raise missing_extra("ClassificationBandit-v0", "scikit-learn", "classification", error) from error
    return getattr(datasets, f"load_{data}")(return_X_y=True)  # type: ignore[no-any-return]


def _contexts(features: Array, dim: int | None) -> Array:
    """Standardised features, or their first principal components, and a 1: (n, d)."""
    spread = features.std(axis=0)
    kept = spread > 1e-12 * np.abs(features).max(axis=0, initial=1.0)
    if not kept.any():
        raise ValueError("X must have a feature that is not constant, got none")
    x = (features[:, kept] - features[:, kept].mean(axis=0)) / spread[kept]
    if dim is not None:
        count = integer("dim", dim, 2, x.shape[1] + 1) - 1
        x = x @ np.linalg.svd(x, full_matrices=False)[2][:count].T
        x /= x.std(axis=0)
    return np.column_stack([x / np.sqrt(x.shape[1]), np.ones(len(x))])
