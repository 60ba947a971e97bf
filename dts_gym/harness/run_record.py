"""What is kept of one finished run, and how its time is counted."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.shown import Shown


class Stopwatch:
    """Counts the time of the parts of a run: what passes, and the CPU time, whatever else the machine does.

    CPU time is the process's, which counts all threads of BLAS; of a run beside other threads it is its own thread's.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> watch.start()
    >>> watch.stop("act")
    >>> act_seconds, update_seconds, cpu_seconds = watch.times
    >>> act_seconds > 0, update_seconds
    (True, 0.0)
    """

    def __init__(self) -> None:
        own = threading.current_thread() is threading.main_thread()
        self._cpu: Callable[[], float] = time.process_time if own else time.thread_time
        self._seconds = {"act": 0.0, "update": 0.0, "cpu": 0.0}

    @property
    def times(self) -> tuple[float, float, float]:
        """Seconds that passed in `act` and in `update`, and CPU seconds of both."""
        return self._seconds["act"], self._seconds["update"], self._seconds["cpu"]

    def start(self) -> None:
        """Begin to count."""
        self._began, self._cpu_began = time.perf_counter(), self._cpu()

    def stop(self, part: Literal["act", "update"]) -> None:
        """Count the time since the start as a part's."""
        self._seconds["cpu"] += self._cpu() - self._cpu_began
        self._seconds[part] += time.perf_counter() - self._began


def microseconds_a_round(cpu_seconds: float, seconds: float, num_rounds: int) -> float:
    """Microseconds of CPU time in a round; of the time that passed where the former is not known."""
    return 1e6 * (seconds if math.isnan(cpu_seconds) else cpu_seconds) / num_rounds


def blas_threads() -> int:
    """Number of threads that NumPy's BLAS may use now."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


@dataclass(frozen=True, eq=False, repr=False)
class RunRecord(Shown):
    """One finished run.

    Parameters
    ----------
    seed : the run's number in the experiment.
    env_seed, agent_seed : the seeds passed to ``env.reset`` and `make_agent`.
    rounds : (m,) rounds, counted from 1, at which the curve is kept; the last is the run's last.
    regret : (m,) cumulative regret after these rounds.
    total_reward : sum of all rewards.
    act_seconds, update_seconds : seconds that passed in the agent's ``act`` and ``update``.
    code : the state of the code that made the run, see `dts_gym.harness.code_state.code_state`; None where the record
        is of a time before states were recorded.
    cpu_seconds : CPU time of both, see `Stopwatch`; NaN where it is not known.
    blas_threads : number of threads that BLAS could use; None where it is not known.
    exploration : the exploration that the agent chose by itself, in words; None where it was set.
    """

    seed: int
    env_seed: int
    agent_seed: int
    rounds: IntArray
    regret: Array
    total_reward: float
    act_seconds: float
    update_seconds: float
    code: Mapping[str, Any] | None = None
    cpu_seconds: float = math.nan
    blas_threads: int | None = None
    exploration: str | None = None

    @property
    def microseconds_per_round(self) -> float:
        """Microseconds of CPU time of the agent in a round, choosing and learning; see `microseconds_a_round`."""
        return microseconds_a_round(self.cpu_seconds, self.act_seconds + self.update_seconds, int(self.rounds[-1]))

    def _repr_facts(self) -> Mapping[str, Any]:
        final = float(self.regret[-1])
        return {"seed": self.seed, "rounds": int(self.rounds[-1]), "regret": final, "total_reward": self.total_reward}
