"""Stacked posteriors of chains by particles against the same posteriors one by one, and no trace of the group."""

import numpy as np
import pytest

from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.lockstep.chain_runs import ChainRuns, fit_together
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.links import AffineLink, Link, MLPLink
from dts_gym.priors.random_priors import random_mlp_prior
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import BernoulliReward, GaussianReward

K, d, R, n = 6, 2, 4, 67  # past the 64 changes after which many starts are rare


def network(seed, steps=3, hidden=8):
    rng = np.random.default_rng(seed)
    shapes = [(hidden, d), (1, hidden, hidden), (1, hidden, hidden), (d, hidden), (d,), (steps, 2, hidden)]
    return DenoiserNetwork(*(rng.standard_normal(shape) / np.sqrt(hidden) for shape in shapes))


def denoisers():
    links, covs = reverse_chain(network(0), noise_schedule(3), 0.1 * np.ones((3, 1, 1)) * np.eye(d))
    return DiffusionPrior(links, covs)


def folded(i):
    """A chain with two modes, its first link |psi| in one direction, and an affine link above it."""
    fold = MLPLink([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0 + 0.1 * i, 0.0], [0.0, 0.0, 1.0]]])
    return DiffusionPrior([fold, AffineLink(np.array([[1.0, 0.1 * i], [0.0, 1.0]]))], [0.1 * np.eye(d)] * 3)


def flat(i):
    """Perceptrons with noise of rank one at the top."""
    prior = random_mlp_prior(d, 2, seed=i)
    return DiffusionPrior(prior.links, [*prior.covariances[:2], np.outer([1.0, 2.0], [1.0, 2.0])])


shared = random_mlp_prior(d, 2, seed=9)
KINDS = {
    "perceptrons": lambda i: (random_mlp_prior(d, 2, seed=i), {}),
    "one prior": lambda i: (shared, {}),
    "two modes": lambda i: (folded(i), {}),
    "singular": lambda i: (flat(i), {}),
    "one particle": lambda i: (random_mlp_prior(d, 2, seed=i), {"num_particles": 1}),
    "deck": lambda i: (random_mlp_prior(d, 1, seed=i), {"surrogate": "deck"}),
    "denoisers": lambda i: (DENOISERS, {"surrogate": "statistical"}),
}
DENOISERS = denoisers()


def posteriors(kind, among=range(R)):
    made = [KINDS[kind](i) for i in among]
    return [
        ChainPosterior(prior, K, GaussianReward(0.4 + 0.1 * i), **{"num_particles": 8, **settings})
        for i, (prior, settings) in zip(among, made, strict=True)
    ]


def rounds(rng, among=range(R)):
    for _ in range(n):
        x, noise, mask = rng.uniform(-1, 1, (R, d)), rng.standard_normal(R), rng.random((R, K)) < 0.7
        mask[:, 0] = True
        yield x[among], noise[among], mask[among]


def reward(x, noise, action):
    return np.sin(action) + x.sum(axis=-1) * np.cos(action) + 0.4 * noise


SCALES = np.linspace(0.5, 1.2, R)


def play_together(kind, rule, masked=False, among=tuple(range(R))):
    among = list(among)
    rows, rngs = posteriors(kind, among), [np.random.default_rng(i) for i in among]
    runs, actions = ChainRuns(rows), []
    for x, noise, mask in rounds(np.random.default_rng(1), among):
        actions.append(getattr(runs, rule)(x, rngs, SCALES[among], mask if masked else None))
        assert runs.update(x, actions[-1], reward(x, noise, actions[-1]))
    runs.part()
    return np.array(actions), rows, rngs


def play_singly(kind, rule, masked):
    rows, rngs, actions = posteriors(kind), [np.random.default_rng(i) for i in range(R)], []
    for x, noise, mask in rounds(np.random.default_rng(1)):
        actions.append([])
        for i, row in enumerate(rows):
            own = mask[i] if masked and not mask[i].all() else None
            a = int(getattr(row, rule)(x[i], rngs[i], SCALES[i], own))
            row.update(x[i], a, float(reward(x[i], noise[i], a)))
            actions[-1].append(a)
    return np.array(actions), rows, rngs


@pytest.mark.parametrize(
    ("kind", "rule", "masked"),
    [
        *((kind, "thompson", kind == "perceptrons") for kind in KINDS),
        *((kind, "upper_confidence", kind == "perceptrons") for kind in ("perceptrons", "two modes", "denoisers")),
    ],
)
def test_choices_and_knowledge_are_those_of_the_posteriors_one_by_one(kind, rule, masked):
    alone, before, rngs = play_singly(kind, rule, masked)
    together, after, others = play_together(kind, rule, masked)
    assert (alone == together).all()
    several = 0
    for mine, theirs, rng, other in zip(before, after, rngs, others, strict=True):
        assert rng.bit_generator.state == other.bit_generator.state
        left, right = mine.state(), theirs.state()
        assert left.keys() == right.keys()
        several += "search.modes.path" in left
        for name, array in left.items():
            np.testing.assert_allclose(array, right[name], rtol=1e-9, atol=1e-10, err_msg=name)
        mine.update(np.ones(d), 1, 0.5)
        theirs.update(np.ones(d), 1, 0.5)
        for a, b in zip(mine.moments(), theirs.moments(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    if kind == "two modes":
        assert several


@pytest.mark.parametrize("kind", ["perceptrons", "two modes", "denoisers"])
def test_a_runs_bytes_do_not_depend_on_the_runs_beside_it(kind):
    whole, rows, _ = play_together(kind, "thompson")
    for among in ([2], [1, 2, 3]):
        part, some, _ = play_together(kind, "thompson", among=among)
        at = among.index(2)
        assert (part[:, at] == whole[:, 2]).all()
        for name, array in rows[2].state().items():
            assert array.tobytes() == some[at].state()[name].tobytes(), name


class Doubled(Link):
    """A link of the user's own."""

    dim = d

    def __call__(self, psi):
        return 2 * psi

    def jacobian(self, psi):
        return np.broadcast_to(2 * np.eye(d), (*psi.shape, d))


def test_what_cannot_be_stacked_is_told():
    alike = posteriors("perceptrons")
    assert fit_together(alike)
    prior = random_mlp_prior(d, 2)
    for other in (
        ChainPosterior(prior, K, GaussianReward(1.0), num_particles=9),
        ChainPosterior(prior, K + 1, GaussianReward(1.0), num_particles=8),
        ChainPosterior(random_mlp_prior(d, 1), K, GaussianReward(1.0), num_particles=8),
        ChainPosterior(prior, K, BernoulliReward(), num_particles=8),
        ChainPosterior(flat(0), K, GaussianReward(1.0), num_particles=8),
        ChainPosterior(DiffusionPrior([Doubled()] * 2, [np.eye(d)] * 3), K, GaussianReward(1.0), num_particles=8),
        TwoLevelPosterior(TwoLevelPrior(np.zeros(d), np.eye(d), np.eye(d)), K, 1.0),
    ):
        assert not fit_together([alike[0], other])
    alike[0].update(np.ones(d), 0, 1.0)
    assert not fit_together(alike)
    other_network, covs = reverse_chain(network(1), noise_schedule(3))
    mine = posteriors("denoisers", [0])[0]
    theirs = ChainPosterior(
        DiffusionPrior(other_network, DENOISERS.covariances), K, GaussianReward(1.0), num_particles=8,
        surrogate="statistical",
    )  # fmt: skip
    assert len(covs) == 4
    assert fit_together([mine, mine])
    assert not fit_together([mine, theirs])
    searching = ChainPosterior(DENOISERS, K, GaussianReward(1.0), num_particles=8)
    assert not fit_together([searching, searching])
