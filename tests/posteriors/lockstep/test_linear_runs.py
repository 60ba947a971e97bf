"""Stacked posteriors against the same posteriors one by one: choices, what is learned, and no trace of the group."""

import numpy as np
import pytest

from dts_gym.posteriors.lockstep.linear_runs import LinearRuns, fit_together
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from truth import random_cov

K, d, R, n = 7, 3, 6, 120
KINDS = ("shared", "independent", "singular", "shared rank")


def priors(kind):
    rng = np.random.default_rng(3)
    nothing = np.zeros((d, d))
    line = np.outer([1.0, 2.0, -1.0], [1.0, 2.0, -1.0])  # of rank one
    covs = {
        "shared": lambda: (random_cov(rng, d), random_cov(rng, d)),
        "independent": lambda: (nothing, random_cov(rng, d)),
        "singular": lambda: (random_cov(rng, d), line),
        "shared rank": lambda: (line, random_cov(rng, d)),
        "one parameter": lambda: (random_cov(rng, d), nothing),
    }[kind]
    return [TwoLevelPrior(rng.standard_normal(d), *covs()) for _ in range(R)]


def posteriors(kind):
    return [TwoLevelPosterior(prior, K, 0.5 + 0.1 * i) for i, prior in enumerate(priors(kind))]


def rounds():
    """Contexts and noise of n rounds of R runs."""
    return np.random.default_rng(1).uniform(-1, 1, (n, R, d)), np.random.default_rng(2).standard_normal((n, R))


def reward(x, noise, action):
    return np.sin(action) + x.sum(axis=-1) * np.cos(action) + noise


def play_singly(kind, rule, scales, masks, x, noise):
    rows, rngs = posteriors(kind), [np.random.default_rng(i) for i in range(R)]
    actions = np.empty((n, R), dtype=np.int64)
    for t in range(n):
        for i, row in enumerate(rows):
            allowed = None if masks[t] is None or masks[t][i].all() else masks[t][i]
            actions[t, i] = getattr(row, rule)(x[t, i], rngs[i], float(scales[t, i]), allowed)
            row.update(x[t, i], int(actions[t, i]), float(reward(x[t, i], noise[t, i], actions[t, i])))
    return actions, rows, rngs


def play_together(kind, rule, scales, masks, x, noise, among=range(R)):
    rows, rngs = [posteriors(kind)[i] for i in among], [np.random.default_rng(i) for i in among]
    among, runs = list(among), LinearRuns(rows)
    actions = np.empty((n, len(among)), dtype=np.int64)
    for t in range(n):
        allowed = None if masks[t] is None else masks[t][among]
        actions[t] = getattr(runs, rule)(x[t, among], rngs, scales[t, among], allowed)
        runs.update(x[t, among], actions[t], reward(x[t, among], noise[t, among], actions[t]))
    runs.part()
    return actions, rows, rngs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        *((kind, "thompson") for kind in (*KINDS, "one parameter")),
        # Not with one parameter: all bounds are then tied but for rounding, and ties are broken at random.
        *((kind, "upper_confidence") for kind in KINDS),
    ],
)
def test_choices_and_knowledge_are_those_of_the_posteriors_one_by_one(kind, rule, masked):
    rng = np.random.default_rng(4)
    scales = np.linspace(1.5, 0.3, n)[:, None] * rng.uniform(0.5, 1.5, R)
    masks = [None] * n
    if masked:
        masks = list(rng.random((n, R, K)) < 0.6)
        for mask in masks:
            mask[np.arange(R), rng.integers(K, size=R)] = True
            mask[0] = True
    x, noise = rounds()
    alone, before, rngs = play_singly(kind, rule, scales, masks, x, noise)
    together, after, others = play_together(kind, rule, scales, masks, x, noise)
    assert (alone == together).all()
    for mine, theirs, rng, other in zip(before, after, rngs, others, strict=True):
        assert rng.bit_generator.state == other.bit_generator.state
        assert (mine.table.actions == theirs.table.actions).all()
        for a, b in zip(mine.moments(), theirs.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
        state = theirs.state()
        copy = TwoLevelPosterior(priors(kind)[0], K, 1.0)
        copy.restore(state)
        assert all((copy.state()[name] == array).all() for name, array in state.items())


@pytest.mark.parametrize("rule", ["thompson", "upper_confidence"])
def test_a_runs_bytes_do_not_depend_on_the_runs_beside_it(rule):
    scales, masks = np.ones((n, R)), [None] * n
    x, noise = rounds()
    whole, rows, _ = play_together("shared", rule, scales, masks, x, noise)
    for among in ([2], [5, 2, 0], [1, 2, 3, 4]):
        part, some, _ = play_together("shared", rule, scales, masks, x, noise, among)
        at = among.index(2)
        assert (part[:, at] == whole[:, 2]).all()
        for name, array in rows[2].state().items():
            assert array.tobytes() == some[at].state()[name].tobytes()


def test_posteriors_serve_while_they_are_stacked_and_are_their_own_afterwards():
    rows = posteriors("shared")
    runs = LinearRuns(rows)
    x = np.ones((R, d))
    runs.update(x, np.arange(R), np.ones(R))
    assert rows[3].table.actions.tolist() == [3]
    stacked = rows[3].moments()[0]
    assert np.abs(stacked - priors("shared")[3].mean).max() > 0
    runs.part()
    rows[2].update(x[0], 5, 3.0)
    np.testing.assert_array_equal(rows[3].moments()[0], stacked)
    assert not any(array.base is not None and array.base.ndim > 2 for array in rows[3].table.columns.arrays.values())


def test_what_cannot_be_stacked_is_told():
    alike = posteriors("shared")
    assert fit_together(alike)
    single = TwoLevelPosterior(priors("shared")[0], K, 1.0, dtype="float32")
    assert not fit_together([single, single])
    assert not fit_together([alike[0], posteriors("independent")[1]])
    assert not fit_together([alike[0], TwoLevelPosterior(priors("shared")[0], K + 1, 1.0)])
    assert not fit_together([alike[0], object()])


def test_rounding_does_not_grow_over_many_rounds():
    """Compensated sums over 20 000 rewards, against the same rewards one by one."""
    rng = np.random.default_rng(5)
    x, y, actions = (
        rng.uniform(-1, 1, (20_000, 2, d)),
        rng.standard_normal((20_000, 2)),
        rng.integers(3, size=(20_000, 2)),
    )
    alone, stacked = posteriors("shared")[:2], posteriors("shared")[:2]
    runs = LinearRuns(stacked)
    for context, action, value in zip(x, actions, y, strict=True):
        runs.update(context, action, value)
    runs.part()
    for i, row in enumerate(alone):
        row.update_all(x[:, i], actions[:, i], y[:, i])
        for a, b in zip(row.moments(), stacked[i].moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
