"""Environments: one file each; made by id, ``gym.make("DiffusionBandit-v0")``."""

from dts_gym.envs.base import BanditEnv
from dts_gym.envs.diffusion import DiffusionBanditEnv
from dts_gym.envs.shared import SharedDiffusionBanditEnv
from dts_gym.envs.synthetic import SyntheticBanditEnv
from dts_gym.envs.vector import BanditVectorEnv

__all__ = ["BanditEnv", "BanditVectorEnv", "DiffusionBanditEnv", "SharedDiffusionBanditEnv", "SyntheticBanditEnv"]
