"""Draws by a fixed rule: they depend on the data alone, and a reward renews those of the played action alone."""

import numpy as np
import pytest

from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.problem.rewards import GaussianReward
from truth import loud_denoisers


def played(actions, branch=3, **settings):
    """A posterior of five actions after a reward of each action named."""
    posterior = BranchedPosterior(loud_denoisers(), 5, GaussianReward(0.5), branch=branch, **settings)
    for i, action in enumerate(actions):
        posterior.update(np.array([1.0, 0.3 * i]), action, 1.0 - 0.2 * i)
    return posterior


def own_moments(posterior, action):
    mean, cov = posterior.moments()
    block = slice(2 * action, 2 * action + 2)
    return mean[action].tobytes(), cov[block, block].tobytes()


def test_an_actions_moments_are_those_of_its_own_data_whatever_else_is_known_and_read():
    alone, after, read = played([2, 2]), played([4, 2, 0, 2, 1]), played([])
    contexts = [np.array([1.0, 0.3 * i]) for i in range(5)]
    for i, action in enumerate([4, 2, 0, 2, 1]):
        read.update(contexts[i], action, 1.0 - 0.2 * i)
        read.upper_confidence(contexts[0], np.random.default_rng(0))
        read.laws(contexts[0][None])
    assert own_moments(after, 1) == own_moments(read, 1)
    assert own_moments(after, 2) == own_moments(read, 2)
    assert own_moments(alone, 3) == own_moments(after, 3)  # an unplayed action has the prior's
    assert own_moments(alone, 2) != own_moments(after, 2)  # of other rewards


def test_a_restored_posterior_has_the_same_moments():
    before, after = played([4, 2, 0, 2, 1]), played([])
    before.moments()
    after.restore(before.state())
    for action in range(5):
        assert own_moments(before, action) == own_moments(after, action)


@pytest.mark.parametrize("reading", ["moments", "draws"])
def test_a_reward_costs_one_filter_where_actions_are_independent(reading):
    posterior = played([4, 2, 0, 2, 1])
    filtered, own_filters = [], posterior.levels.own_filters
    posterior.levels.own_filters = lambda slots, *args, **settings: (
        filtered.append(list(slots)) or own_filters(slots, *args, **settings)
    )
    read = getattr(posterior._fixed, reading)
    read(1.0)
    assert sorted(slot for slots in filtered for slot in slots) == [0, 1, 2, 3]
    filtered.clear()
    posterior.update(np.array([1.0, 0.0]), 2, 0.5)
    read(1.0)
    read(1.0)
    assert filtered == [[posterior.table.slots[2]]]
    filtered.clear()
    read(0.5)
    assert sorted(slot for slots in filtered for slot in slots) == [0, 1, 2, 3]


def test_a_reward_renews_all_draws_where_levels_are_shared():
    posterior = played([4, 2], branch=2)
    before = own_moments(posterior, 4)
    posterior.update(np.array([1.0, 0.0]), 2, 5.0)
    assert own_moments(posterior, 4) != before


def test_moments_and_bounds_are_those_of_many_draws_of_the_filters():
    posterior = played([4, 2, 0, 2, 1])
    mean, cov = posterior.moments()
    drawn = posterior.sample_parameters(np.random.default_rng(3), size=4000)
    sd = np.sqrt(np.diag(cov).reshape(5, 2))
    # The error of a mean of 4000 draws is 1/63 of a deviation, that of 512 particles about 1/16.
    assert np.abs((drawn.mean(axis=0) - mean) / sd).max() < 0.25
    np.testing.assert_allclose(drawn.std(axis=0), sd, rtol=0.25)
