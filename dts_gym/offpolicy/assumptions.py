"""What is assumed of a log's rewards where models are fitted to them."""

from __future__ import annotations

from dts_gym.offpolicy.log import BanditLog
from dts_gym.problem.rewards import GaussianReward, RewardModel, reward_model


def known_rewards(log: BanditLog, reward: RewardModel | str | None, noise_std: float | None) -> tuple[RewardModel, str]:
    """The family of a log's rewards: as told, as the log says, else Gaussian with deviation 1; and where it is from.

    Returns
    -------
    RewardModel, "given" or "log" or "default"
    """
    if noise_std is not None and not (reward is None or reward == "gaussian"):
        raise ValueError(f"noise_std must be left out unless rewards are Gaussian, got {noise_std!r} beside {reward!r}")
    model: RewardModel
    if noise_std is not None:
        model, source = GaussianReward(noise_std), "given"
    elif isinstance(reward, RewardModel):
        model, source = reward, "given"
    elif reward is not None:
        model, source = reward_model(reward), "given"
    elif log.reward is not None:
        model, source = log.reward, "log"
    else:
        model, source = GaussianReward(), "default"
    model.check_all(log.rewards)
    return model, source
