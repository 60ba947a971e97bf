"""Streams of many runs draw what each run's generator draws by itself."""

import numpy as np

from dts_gym.posteriors.chain.run_streams import RunStreams, stream_among


def generators():
    return [np.random.default_rng(i) for i in range(3)]


def test_each_run_draws_its_rows_in_one_call():
    streams, alone = RunStreams(generators()), generators()
    for name in ("standard_normal", "random", "random"):
        drawn = getattr(streams, name)((3, 4, 2))
        for row, rng in zip(drawn, alone, strict=True):
            np.testing.assert_array_equal(row, getattr(rng, name)((4, 2)))


def test_runs_with_other_numbers_of_rows_and_with_none():
    streams, alone = RunStreams(generators(), np.array([2, 0, 3])), generators()
    drawn = streams.random((5, 2))
    np.testing.assert_array_equal(drawn[:2], alone[0].random((2, 2)))
    np.testing.assert_array_equal(drawn[2:], alone[2].random((3, 2)))
    chosen = np.array([[True, False], [True, True], [False, False], [True, False], [False, False]])
    some = stream_among(streams, chosen).random((4, 1))
    np.testing.assert_array_equal(some[:3], alone[0].random((3, 1)))
    np.testing.assert_array_equal(some[3:], alone[2].random((1, 1)))
    assert streams.random((5,)).shape == (5,)


def test_one_generator_draws_for_all():
    rng = np.random.default_rng(0)
    assert stream_among(rng, np.array([True, False])) is rng
