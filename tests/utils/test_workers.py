"""Pools: all results from every backend, one BLAS thread, errors as they were raised, dead workers reported."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest

from dts_gym.utils.workers import open_pool

ray_only = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed")
BACKENDS = ["serial", "processes", pytest.param("ray", marks=[ray_only, pytest.mark.slow])]


def workers_of(backend):
    return 1 if backend == "serial" else 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_job_is_done_once_and_errors_come_back_as_they_are(backend):
    # Functions of a test are of no module that a worker could import: local ones travel by value.
    def square(x):
        if x == 7:
            raise ValueError("seven is refused")
        return x * x

    with open_pool(backend, workers_of(backend)) as pool:
        assert sorted(pool(square, [(x,) for x in (3, 1, 2, 5, 4)])) == [1, 4, 9, 16, 25]
        assert list(pool(square, [])) == []
        assert list(pool(square, [(6,)])) == [36]
        with pytest.raises(ValueError, match=r"^seven is refused$"):
            list(pool(square, [(x,) for x in range(9)]))
        some = pool(square, [(x,) for x in (1, 2, 3, 4)])
        assert next(some) in (1, 4, 9, 16)
        some.close()
        assert sorted(pool(square, [(1,), (2,)])) == [1, 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_has_one_blas_thread_whatever_the_environment_says(backend):
    code = f"""
import json, os
from dts_gym.utils.workers import open_pool
def threads():
    from threadpoolctl import threadpool_info
    return os.getpid(), [module["num_threads"] for module in threadpool_info() if module["user_api"] == "blas"]
if __name__ == "__main__":
    with open_pool({backend!r}, {workers_of(backend)}) as pool:
        seen = list(pool(eval("lambda: threads()", {{"threads": threads}}), [()] * 4))
    from threadpoolctl import threadpool_info
    here = [module["num_threads"] for module in threadpool_info() if module["user_api"] == "blas"]
    print(json.dumps([os.getpid(), here, seen]))
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    pid, here, seen = json.loads(done.stdout)
    assert {count for _, counts in seen for count in counts} == {1}
    assert all(len(counts) >= 2 for _, counts in seen)  # NumPy's BLAS and SciPy's
    assert {worker == pid for worker, _ in seen} == {backend == "serial"}
    if backend == "serial" and os.cpu_count() > 1:
        assert set(here) == {2}  # after the jobs as before them


@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != "serial"])
def test_a_worker_that_dies_again_and_again_is_an_error(backend):
    def die():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    with open_pool(backend, 2) as pool, pytest.raises(ChildProcessError, match="a worker process died"):
        list(pool(die, [(), (), ()]))


def test_a_worker_that_dies_before_all_jobs_are_handed_out_is_an_error():
    def die():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    class Slow(list):
        def __iter__(self):
            for at, item in enumerate(super().__iter__()):
                if at == 2:  # two are under way, and the pool asks for the next ones
                    time.sleep(2)
                yield item

    with open_pool("processes", 2) as pool:
        with pytest.raises(ChildProcessError, match="a worker process died"):
            list(pool(die, Slow([(), (), ()])))
        assert sorted(pool(pow, [(2, 1), (2, 2)])) == [2, 4]


@ray_only
@pytest.mark.slow
def test_ray_does_the_job_of_a_killed_worker_again(tmp_path):
    def die_once(x):
        import os
        import signal

        (tmp_path / str(x)).open("a").write("x")
        if (tmp_path / str(x)).read_text() == "x":
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with open_pool("ray", 2) as pool:
        assert sorted(pool(die_once, [(0,), (1,), (2,)])) == [0, 1, 2]
    assert [(tmp_path / str(x)).read_text() for x in range(3)] == ["xx"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("threads",), r"backend must be one of \('serial', 'processes', 'ray'\), got 'threads'"),
        (("serial", 2), "num_workers must be 1 for the backend 'serial', got 2"),
        (("processes", 0), "num_workers must be an integer >= 1, got 0"),
        (("processes", 2, "auto"), "ray_address must be None for the backend 'processes', got 'auto'"),
    ],
)
def test_pools_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message), open_pool(*arguments):
        pass


def test_a_missing_ray_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ImportError, match=r"needs Ray, .*pip install .* -e '\.\[ray\]'"),
        open_pool("ray"),
    ):
        pass
