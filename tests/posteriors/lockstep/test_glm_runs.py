"""Stacked posteriors under clicks and counts against the same posteriors one by one, and no trace of the group."""

import numpy as np
import pytest

from dts_gym.posteriors.glm import glm_table
from dts_gym.posteriors.glm.glm_posterior import REFRESH_EVERY, GLMPosterior
from dts_gym.posteriors.glm.shared_part import about_root
from dts_gym.posteriors.lockstep import expansion_runs
from dts_gym.posteriors.lockstep.glm_runs import GLMRuns, fit_together
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import BernoulliReward, PoissonReward
from truth import random_cov

K, d, R = 7, 3, 5
KINDS = ("shared", "independent", "shared rank")
FAMILIES = {"bernoulli": BernoulliReward(), "poisson": PoissonReward()}


def priors(kind):
    rng = np.random.default_rng(3)
    line = np.outer([1.0, 2.0, -1.0], [1.0, 2.0, -1.0])  # of rank one
    covs = {
        "shared": lambda: (random_cov(rng, d), random_cov(rng, d)),
        "independent": lambda: (np.zeros((d, d)), random_cov(rng, d)),
        "shared rank": lambda: (line, random_cov(rng, d)),
        "own rank": lambda: (random_cov(rng, d), line),
    }[kind]
    return [TwoLevelPrior(rng.standard_normal(d), *covs()) for _ in range(R)]


def posteriors(kind, family, mode="map"):
    return [GLMPosterior(prior, K, FAMILIES[family], mode) for prior in priors(kind)]


def rounds(n):
    """Contexts and the random numbers of the rewards of n rounds of R runs."""
    rng = np.random.default_rng(1)
    return rng.uniform(-1.5, 1.5, (n, R, d)), rng.random((n, R))


def reward(family, x, noise, action):
    eta = np.sin(action) + (x * np.cos(action[:, None] + np.arange(d))).sum(axis=1)
    return FAMILIES[family].from_noise(noise, eta)


SCALES = np.linspace(0.5, 1.2, R)


def play_singly(rows, family, rule, masks, n):
    rngs, actions = [np.random.default_rng(i) for i in range(R)], []
    for t, (x, noise) in enumerate(zip(*rounds(n), strict=True)):
        actions.append([])
        for i, row in enumerate(rows):
            allowed = None if masks is None or masks[t][i].all() else masks[t][i]
            a = int(getattr(row, rule)(x[i], rngs[i], float(SCALES[i]), allowed))
            y = reward(family, x[i : i + 1], noise[i : i + 1], np.array([a]))
            row.update(x[i], a, float(y[0]))
            actions[-1].append(a)
    return np.array(actions), rngs


def play_together(rows, family, rule, masks, n, among=tuple(range(R))):
    among = list(among)
    rngs, runs, actions = [np.random.default_rng(i) for i in among], GLMRuns(rows), []
    for t, (x, noise) in enumerate(zip(*rounds(n), strict=True)):
        allowed = None if masks is None else masks[t][among]
        actions.append(getattr(runs, rule)(x[among], rngs, SCALES[among], allowed))
        y = reward(family, x[among], noise[among], actions[-1])
        assert runs.update(x[among], actions[-1], y)
    runs.part()
    return np.array(actions), rngs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("kind", "rule", "masked", "mode"),
    [
        *((kind, rule, False, "map") for kind in KINDS for rule in ("thompson", "upper_confidence")),
        ("shared", "thompson", True, "map"),
        ("independent", "upper_confidence", True, "online"),
    ],
)
def test_choices_and_knowledge_are_those_of_the_posteriors_one_by_one(family, kind, rule, masked, mode):
    n, rng = 50, np.random.default_rng(4)
    masks = None
    if masked:
        masks = rng.random((n, R, K)) < 0.6
        masks[..., 0] = True
    before, after = posteriors(kind, family, mode), posteriors(kind, family, mode)
    alone, rngs = play_singly(before, family, rule, masks, n)
    together, others = play_together(after, family, rule, masks, n)
    assert (alone == together).all()
    assert len(set(alone[:, 1])) > 2
    for i, (mine, theirs, one, other) in enumerate(zip(before, after, rngs, others, strict=True)):
        assert one.bit_generator.state == other.bit_generator.state
        left, right = mine.state(), theirs.state()
        assert left.keys() == right.keys()
        for name, array in left.items():
            np.testing.assert_allclose(array, right[name], rtol=1e-9, atol=1e-10, err_msg=name)
        copy = posteriors(kind, family, mode)[i]
        copy.restore(right)
        for each in (copy, theirs, mine):
            each.update(np.ones(d), 1, 1.0)
        for name, array in theirs.state().items():
            assert array.tobytes() == copy.state()[name].tobytes(), name
        for a, b in zip(mine.moments(), theirs.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_messages_are_summed_anew_and_stale_rewards_expanded_again_as_alone(monkeypatch):
    n, times = REFRESH_EVERY, []
    again = expansion_runs.ExpansionRuns.again
    monkeypatch.setattr(
        expansion_runs.ExpansionRuns,
        "again",
        lambda self, runs, *rest: times.append(len(runs)) or again(self, runs, *rest),
    )
    before, after = posteriors("shared", "bernoulli"), posteriors("shared", "bernoulli")
    alone, _ = play_singly(before, "bernoulli", "thompson", None, n)
    together, _ = play_together(after, "bernoulli", "thompson", None, n)
    assert sum(times) > R
    assert (alone == together).all()
    for mine, theirs in zip(before, after, strict=True):
        summed = about_root(theirs.table.total(), theirs.shared_root)  # no trace of the rounding of single rounds
        np.testing.assert_array_equal(theirs.known.G, np.eye(d) + summed.G)
        np.testing.assert_array_equal(theirs.known.h, summed.h)
        for a, b in zip(mine.moments(), theirs.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("family", "rule"), [("bernoulli", "thompson"), ("poisson", "thompson"), ("bernoulli", "upper_confidence")]
)
def test_a_runs_bytes_do_not_depend_on_the_runs_beside_it(family, rule, monkeypatch):
    monkeypatch.setattr(glm_table, "_MOST_SITES", {"map": 8})  # sites are merged, earlier in some runs than in others
    whole = posteriors("shared", family)
    played, _ = play_together(whole, family, rule, None, 60)
    assert any(each.glm.state()["rest.G"].any() for each in whole)
    for among in ([2], [1, 2, 4]):
        some = [posteriors("shared", family)[i] for i in among]
        part, _ = play_together(some, family, rule, None, 60, among)
        at = among.index(2)
        assert (part[:, at] == played[:, 2]).all()
        for name, array in whole[2].state().items():
            assert array.tobytes() == some[at].state()[name].tobytes(), name


def test_bytes_do_not_depend_on_how_many_rewards_other_runs_have():
    """Sums of some 300 terms are rounded in another way where zeros are added to them."""
    x, y = np.random.default_rng(0).uniform(-1, 1, (600, d)), np.random.default_rng(1).integers(2, size=600)

    def learned(i, count):
        row = GLMPosterior(priors("shared")[i], K, BernoulliReward())
        for context, value in zip(x[:count], y.tolist(), strict=False):
            row.update(context, 0, float(value))
        return row

    first, again = learned(0, 300), learned(0, 300)
    for rows in ([first], [again, learned(1, 505)]):
        runs = GLMRuns(rows)
        assert runs.update(x[: len(rows)], np.zeros(len(rows), dtype=int), np.ones(len(rows)))
        runs.part()
    for name, array in first.state().items():
        assert array.tobytes() == again.state()[name].tobytes(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_sites_are_learned_from_as_alone(family, monkeypatch):
    monkeypatch.setattr(glm_table, "_MOST_SITES", {"map": 8})
    before, after = posteriors("shared", family), posteriors("shared", family)
    alone, _ = play_singly(before, family, "thompson", None, 60)
    together, _ = play_together(after, family, "thompson", None, 60)
    assert (alone == together).all()
    for mine, theirs in zip(before, after, strict=True):
        for name, array in mine.state().items():
            np.testing.assert_allclose(array, theirs.state()[name], rtol=1e-8, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("size", [1e9, 1e200])
def test_a_context_that_one_posterior_refuses_changes_nothing(size):
    rows = posteriors("shared", "bernoulli")
    runs, x = GLMRuns(rows), np.ones((R, d))
    assert runs.update(x, np.arange(R), np.ones(R))
    x[3] *= size
    assert not runs.update(x, np.arange(R) + 1, np.ones(R))
    runs.part()
    untouched = posteriors("shared", "bernoulli")
    for i, (mine, other) in enumerate(zip(rows, untouched, strict=True)):
        other.update(np.ones(d), i, 1.0)
        for name, array in mine.state().items():
            np.testing.assert_allclose(array, other.state()[name], rtol=1e-12, atol=1e-13, err_msg=name)
    with pytest.raises(ValueError, match="context must give x' theta a prior standard deviation"):
        rows[3].update(x[3], 4, 1.0)


def test_products_that_have_no_factors_leave_the_other_runs_as_they_are(monkeypatch):
    whole, parted = posteriors("shared", "bernoulli"), posteriors("shared", "bernoulli")
    play_together(whole, "bernoulli", "thompson", None, 60)
    again, sizes = expansion_runs.ExpansionRuns.again, []

    def refuse_several(self, runs, *rest):
        sizes.append(len(runs))
        if len(runs) > 1:
            raise np.linalg.LinAlgError("of one of them")
        return again(self, runs, *rest)

    monkeypatch.setattr(expansion_runs.ExpansionRuns, "again", refuse_several)
    play_together(parted, "bernoulli", "thompson", None, 60)
    assert max(sizes) > 1
    for mine, other in zip(whole, parted, strict=True):
        for name, array in mine.state().items():
            assert array.tobytes() == other.state()[name].tobytes(), name

    def refuse(*_):
        raise np.linalg.LinAlgError("of one of them")

    monkeypatch.setattr(expansion_runs, "at_map", refuse)
    runs = GLMRuns(whole)
    assert not runs.update(np.ones((R, d)), np.arange(R), np.ones(R))
    runs.part()
    for mine, other in zip(whole, parted, strict=True):
        assert (mine.known.G == other.known.G).all()


def test_what_cannot_be_stacked_is_told():
    alike = posteriors("shared", "bernoulli")
    assert fit_together(alike)
    assert fit_together(posteriors("independent", "poisson", "online"))
    assert not fit_together([])
    assert not fit_together(posteriors("shared", "bernoulli", "mle"))
    assert not fit_together(posteriors("own rank", "bernoulli"))
    one = priors("shared")[0]
    for other in (
        posteriors("shared", "poisson")[0],
        posteriors("shared", "bernoulli", "online")[0],
        posteriors("independent", "bernoulli")[0],
        posteriors("shared rank", "bernoulli")[0],
        GLMPosterior(one, K + 1, BernoulliReward()),
        TwoLevelPosterior(one, K, 1.0),
    ):
        assert not fit_together([alike[0], other])

    class Clicks(BernoulliReward):
        """A family of the user's own."""

    assert not fit_together([GLMPosterior(one, K, Clicks())] * 2)
    alike[0].expect(np.ones(d), 2)
    assert not fit_together(alike)
