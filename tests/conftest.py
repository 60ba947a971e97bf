"""Fixtures that tests of several modules share, and the option ``--no-missing``."""

import contextlib
import os

import pytest

from dts_gym.harness import records

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into memory: tests need no screen

# How the reason of a skipped test begins that no installed package would mend.
OF_THE_MACHINE = "this machine"


def pytest_addoption(parser):
    parser.addoption(
        "--no-missing",
        action="store_true",
        help=f"tests that are skipped fail, unless the reason begins with '{OF_THE_MACHINE}': none is skipped for a "
        "missing package",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    return _without_skips((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _without_skips((yield), collector.config)


def _without_skips(report, config):
    if report.skipped and not hasattr(report, "wasxfail") and config.getoption("no_missing"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(OF_THE_MACHINE):
            report.outcome = "failed"
            report.longrepr = f"skipped, which --no-missing does not allow: {reason}"
    return report


@pytest.fixture
def stopped_after(monkeypatch):
    """``with stopped_after(n):`` is interrupted in the run that follows n recorded ones, and must be."""

    @contextlib.contextmanager
    def stopped(number):
        count, write = iter(range(number)), records.write_record

        def write_some(*arguments):
            if next(count, None) is None:
                raise KeyboardInterrupt
            write(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(records, "write_record", write_some)
            with pytest.raises(KeyboardInterrupt):
                yield

    return stopped
