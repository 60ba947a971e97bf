"""What tests of several modules share."""

import contextlib

import pytest

from dts_gym.harness import records


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
