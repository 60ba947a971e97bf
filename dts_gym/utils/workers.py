"""Where independent jobs run: in this process, in processes of this machine, or on Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar, get_args

from dts_gym.utils.extras import missing_extra
from dts_gym.utils.validation import choice, integer

Backend = Literal["serial", "processes", "ray"]
_R = TypeVar("_R")
_Results = Generator[_R, None, None]
_DIED = "a worker process died, killed or out of memory"
_RETRIES = 3  # number of times that Ray restarts a job whose worker died; a job that kills its worker must end


class Pool(Protocol):
    """Yields ``function(*arguments)`` for each of the arguments, in the order in which they finish."""

    def __call__(self, function: Callable[..., _R], arguments: Sequence[tuple[Any, ...]]) -> _Results[_R]: ...


def checked_pool(backend: Any, num_workers: Any, ray_address: Any = None) -> None:
    """Refuse a pool that `open_pool` could not open.

    Raises
    ------
    ValueError
        If there is no such backend, or the other arguments do not fit it.
    ImportError
        If the backend is not installed.
    """
    choice("backend", backend, get_args(Backend))
    if num_workers is not None:
        integer("num_workers", num_workers, 1)
    if backend == "serial" and num_workers not in (None, 1):
        raise ValueError(f"num_workers must be 1 for the backend 'serial', got {num_workers}")
    if backend != "ray" and ray_address is not None:
        raise ValueError(f"ray_address must be None for the backend {backend!r}, got {ray_address!r}")
    if backend == "ray":
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise missing_extra("the backend 'ray'", "Ray", "ray", error) from error


@contextlib.contextmanager
def open_pool(
    backend: Backend = "processes", num_workers: int | None = 1, ray_address: str | None = None
) -> Iterator[Pool]:
    """A pool of workers, closed at the end of the ``with`` block.

    Every job has one BLAS thread, so that its numbers depend neither on the backend nor on the number of workers.

    Parameters
    ----------
    backend : "serial" is this process; "processes" is joblib's loky, or this process where one worker is
        enough; "ray" needs the extra.
    num_workers : number of jobs at a time; None is as many as there are usable cores, in the whole cluster with an
        address.
    ray_address : address of a running cluster, whose machines have this package; None starts Ray on this machine.

    Raises
    ------
    ValueError, ImportError
        As in `checked_pool`.
    ChildProcessError
        From the pool, if a worker process dies. Ray restarts the job three times before that.

    Examples
    --------
    >>> with open_pool("processes", 2) as pool:
    ...     sorted(pool(pow, [(2, 3), (3, 2), (2, 2)]))
    [4, 8, 9]
    """
    checked_pool(backend, num_workers, ray_address)
    if backend == "ray":
        with _ray(num_workers, ray_address) as pool:
            yield pool
    elif backend == "serial" or (workers := num_workers or cores()) == 1:
        yield _serial
    else:
        yield _Processes(workers)


def one_thread(function: Callable[..., _R], *arguments: Any) -> _R:
    """Call ``function(*arguments)`` with one thread in BLAS."""
    import scipy.linalg  # noqa: F401  the limit holds for loaded libraries, and SciPy has a BLAS of its own
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(*arguments)


def _serial(function: Callable[..., _R], arguments: Sequence[tuple[Any, ...]]) -> _Results[_R]:
    yield from (one_thread(function, *given) for given in arguments)


def _start_worker(parent: int) -> None:
    # Ctrl-C reaches all processes of a terminal, but only the parent should stop the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)  # the parent was killed, so this job is useless, and loky would stay for minutes

    threading.Thread(target=watch, daemon=True).start()


class _Processes:
    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers

    def __call__(self, function: Callable[..., _R], arguments: Sequence[tuple[Any, ...]]) -> _Results[_R]:
        if len(arguments) < 2:
            yield from _serial(function, arguments)
            return
        import joblib

        start = {"initializer": _start_worker, "initargs": (os.getpid(),)}
        with joblib.parallel_config(backend="loky", inner_max_num_threads=1, **start):
            pool = joblib.Parallel(n_jobs=self._num_workers, return_as="generator_unordered", batch_size=1)
            jobs = (joblib.delayed(one_thread)(function, *given) for given in arguments)
            results = None
            try:
                results = pool(jobs)  # starts the first jobs, and a worker can die before all of them have started
                for result in results:  # noqa: UP028  "yield from" would close it before the filter below
                    yield result
            except BrokenProcessPool as error:
                raise ChildProcessError(_DIED) from error
            finally:
                with warnings.catch_warnings():  # a caller that stops early knows that jobs were running
                    warnings.filterwarnings("ignore", ".*have been cancelled")
                    if results is not None:
                        results.close()


@contextlib.contextmanager
def _ray(num_workers: int | None, address: str | None) -> Iterator[Pool]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent unless the user asks for it
    import ray

    ours = not ray.is_initialized()
    if ours:
        here = {} if address else {"num_cpus": num_workers or cores(), "include_dashboard": False}
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    try:
        job = ray.remote(max_retries=_RETRIES)(one_thread)
        at_a_time = num_workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)

        def pool(function: Callable[..., _R], arguments: Sequence[tuple[Any, ...]]) -> _Results[_R]:
            left = iter(arguments)
            running = [job.remote(function, *given) for given in islice(left, at_a_time)]
            while running:
                (done,), running = ray.wait(running)
                running += [job.remote(function, *given) for given in islice(left, 1)]
                try:
                    result: _R = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                    raise ChildProcessError(f"{_DIED}, {_RETRIES + 1} times in one job") from error
                yield result

        yield pool
    finally:
        if ours:
            ray.shutdown()


def cores() -> int:
    """Number of usable cores of this machine."""
    import joblib

    return int(joblib.cpu_count())
