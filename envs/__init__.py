"""Environments: one file each; made by id, ``gym.make("DiffusionBandit-v0")``.

Read `base` (what an episode is, and what a step reports), then an environment: `diffusion`, `shared`, `synthetic`,
`catalogue`, `movielens`; `rows` is the template of those whose rounds are rows of a table, `logged` and
`classification`. `vector` plays many instances as arrays (`ahead` draws their rounds, `vector_inputs` checks what it
receives), `rendering` draws frames.
"""

from dts_gym.envs.base import BanditEnv
from dts_gym.envs.catalogue import CatalogueBanditEnv
from dts_gym.envs.classification import ClassificationBanditEnv
from dts_gym.envs.diffusion import DiffusionBanditEnv
from dts_gym.envs.logged import LoggedBanditEnv
from dts_gym.envs.shared import SharedDiffusionBanditEnv
from dts_gym.envs.synthetic import SyntheticBanditEnv
from dts_gym.envs.vector import BanditVectorEnv

__all__ = [
    "BanditEnv",
    "BanditVectorEnv",
    "CatalogueBanditEnv",
    "ClassificationBanditEnv",
    "DiffusionBanditEnv",
    "LoggedBanditEnv",
    "SharedDiffusionBanditEnv",
    "SyntheticBanditEnv",
]
