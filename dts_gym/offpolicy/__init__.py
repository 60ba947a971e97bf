"""Learning from logs."""
from dts_gym.offpolicy.log import BanditLog
__all__ = ["BanditLog"]
