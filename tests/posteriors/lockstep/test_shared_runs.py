"""Stacked posteriors of a shared parameter against the same posteriors one by one, and no trace of the group."""

import numpy as np
import pytest

from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.lockstep.stacking import stacker
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.random_priors import random_mlp_prior
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import BernoulliReward, GaussianReward

K, d, R, n = 7, 2, 4, 25


def denoisers(steps=5, hidden=8):
    rng = np.random.default_rng(0)
    shapes = [(hidden, d), (2, hidden, hidden), (2, hidden, hidden), (d, hidden), (d,), (steps, 3, hidden)]
    network = DenoiserNetwork(*(rng.standard_normal(shape) / np.sqrt(hidden) for shape in shapes))
    links, covs = reverse_chain(network, noise_schedule(steps), 0.1 * np.ones((steps, 1, 1)) * np.eye(d))
    return DiffusionPrior(links, covs)


def two_level(i, shared=1.0, own=1.0):
    root = np.array([[1.0, 0.1 * i], [0.0, 0.7]])
    return TwoLevelPrior(np.array([0.3, -0.1 * i]), shared * root @ root.T, own * np.eye(d))


DENOISERS = denoisers()
ENGINES = {
    "linear": lambda i: TwoLevelPosterior(two_level(i), 1, 0.4 + 0.1 * i),
    "linear, nothing shared": lambda i: TwoLevelPosterior(two_level(i, shared=0.0), 1, 0.4 + 0.1 * i),
    "linear, all shared": lambda i: TwoLevelPosterior(two_level(i, own=0.0), 1, 0.4 + 0.1 * i),
    "clicks": lambda i: GLMPosterior(two_level(i), 1, BernoulliReward()),
    "clicks, nothing shared": lambda i: GLMPosterior(two_level(i, shared=0.0), 1, BernoulliReward()),
    "perceptrons": lambda i: ChainPosterior(
        random_mlp_prior(d, 2, seed=i), 1, GaussianReward(0.4 + 0.1 * i), num_particles=8
    ),
    "denoisers": lambda i: ChainPosterior(
        DENOISERS, 1, GaussianReward(0.4 + 0.1 * i), num_particles=8, surrogate="statistical"
    ),
}
SCALES = np.linspace(0.5, 1.2, R)


def rounds():
    rng = np.random.default_rng(1)
    for _ in range(n):
        x, mask = rng.uniform(-1, 1, (R, K, d)), rng.random((R, K)) < 0.7
        x[1, 3] = x[1, 4] = [2.0, 2.0]  # often tied
        mask[:, 0] = True
        yield x, rng.standard_normal(R), mask


def reward(kind, x, noise):
    y = 0.8 * x[..., 0] - 0.5 * x[..., 1] + 0.4 * noise  # no product over runs, whose rounding would depend on them
    return 1.0 * (y > 0) if kind.startswith("clicks") else y


def play_together(kind, rule, masked=False, among=tuple(range(R))):
    among = list(among)
    rows, rngs = [SharedParameterPosterior(ENGINES[kind](i)) for i in among], [np.random.default_rng(i) for i in among]
    runs, actions = stacker(rows)(rows), []
    for x, noise, mask in rounds():
        actions.append(getattr(runs, rule)(x[among], rngs, SCALES[among], mask[among] if masked else None))
        played = x[among, actions[-1]]
        assert runs.update(x[among], actions[-1], reward(kind, played, noise[among]))
    runs.part()
    return np.array(actions), rows, rngs


def play_singly(kind, rule, masked):
    rows, rngs, actions = [SharedParameterPosterior(ENGINES[kind](i)) for i in range(R)], [], []
    rngs = [np.random.default_rng(i) for i in range(R)]
    for x, noise, mask in rounds():
        actions.append([])
        for i, row in enumerate(rows):
            a = int(getattr(row, rule)(x[i], rngs[i], SCALES[i], mask[i] if masked else None))
            row.update(x[i], a, float(reward(kind, x[i, a], noise[i])))
            actions[-1].append(a)
    return np.array(actions), rows, rngs


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rule", ["thompson", "upper_confidence"])
@pytest.mark.parametrize("kind", ENGINES)
def test_choices_and_knowledge_are_those_of_the_posteriors_one_by_one(kind, rule, masked):
    alone, before, rngs = play_singly(kind, rule, masked)
    together, after, others = play_together(kind, rule, masked)
    assert (alone == together).all()
    assert len(set(alone[:, 1])) > 1
    for mine, theirs, rng, other in zip(before, after, rngs, others, strict=True):
        assert rng.bit_generator.state == other.bit_generator.state
        left, right = mine.state(), theirs.state()
        assert left.keys() == right.keys()
        for name, array in left.items():
            np.testing.assert_allclose(array, right[name], rtol=1e-9, atol=1e-10, err_msg=name)
        mine.update(np.ones((K, d)), 1, 0.5)
        theirs.update(np.ones((K, d)), 1, 0.5)
        for a, b in zip(mine.moments(), theirs.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rule", ["thompson", "upper_confidence"])
@pytest.mark.parametrize("kind", ENGINES)
def test_a_runs_bytes_do_not_depend_on_the_runs_beside_it(kind, rule):
    whole, rows, _ = play_together(kind, rule)
    for among in ([2], [1, 2, 3]):
        part, some, _ = play_together(kind, rule, among=among)
        at = among.index(2)
        assert (part[:, at] == whole[:, 2]).all()
        for name, array in rows[2].state().items():
            assert array.tobytes() == some[at].state()[name].tobytes(), name


def test_runs_of_which_some_have_learned_before_draw_as_they_would_alone():
    def made():
        rows = [SharedParameterPosterior(ENGINES["linear"](i)) for i in range(3)]
        rows[1].update(np.ones((K, d)), 2, 1.5)
        return rows, [np.random.default_rng(i) for i in range(3)]

    x, (alone, rngs), (rows, others) = np.random.default_rng(5).uniform(-1, 1, (3, K, d)), made(), made()
    runs = stacker(rows)(rows)
    for _ in range(20):
        singly = [int(row.thompson(own, rng, 2.0)) for row, own, rng in zip(alone, x, rngs, strict=True)]
        assert runs.thompson(x, others, np.full(3, 2.0)).tolist() == singly


def test_what_cannot_be_stacked_is_told():
    linear = [SharedParameterPosterior(ENGINES["linear"](i)) for i in range(2)]
    assert stacker(linear) is not None
    unlike = SharedParameterPosterior(GLMPosterior(two_level(0), 1, BernoulliReward(), "mle"))
    assert stacker([unlike, unlike]) is None
    assert stacker([linear[0], linear[1].engine]) is None
    assert stacker([linear[0], SharedParameterPosterior(ENGINES["denoisers"](0))]) is None
