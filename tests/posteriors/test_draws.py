"""The distribution of the chosen action: that of the best action under a draw of all parameters."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from dts_gym import BanditProblem, BernoulliReward, DiffusionPrior, GaussianReward, make_agent
from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors import action_posterior
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain
from dts_gym.priors.two_level import TwoLevelPrior

DRAWS = 5_000
# Below this p-value two samples differ in distribution; some 60 tests are made, so false alarms are below 1e-3 in all.
RARE = 1e-5


def wishart(rng, d):
    root = rng.standard_normal((d, d + 1))
    return root @ root.T / d


def independent(rng, d):
    return TwoLevelPrior(rng.standard_normal(d), np.zeros((d, d)), np.eye(d))


def chain(depth, branch):
    def prior(rng, d):
        weights = [rng.uniform(-1, 1, (d, d)) for _ in range(depth)]
        covs = [wishart(rng, d) for _ in range(depth + 1)]
        offsets = [rng.standard_normal(d) for _ in range(depth)]
        return LinearDiffusionPrior(weights, covs, offsets, branch).two_level()

    return prior


def singular(rng, d):
    """Both parts of rank 1."""
    axes = rng.standard_normal((2, d))
    return TwoLevelPrior(np.ones(d), np.outer(axes[0], axes[0]), np.outer(axes[1], axes[1]))


def played_posterior(prior, num_actions, actions, rng):
    posterior = TwoLevelPosterior(prior, num_actions, 0.7)
    for a in actions:
        posterior.update(rng.uniform(-1, 1, len(prior.mean)), a, float(rng.standard_normal()))
    return posterior


def same_law(first, second, num_actions):
    """p-value of the chi-square test of two samples of actions; rarely seen actions are pooled."""
    table = np.stack([np.bincount(part, minlength=num_actions) for part in (first, second)])
    often = table.sum(axis=0) >= 20
    table = np.column_stack([table[:, often], table[:, ~often].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    return chi2_contingency(table).pvalue if table.shape[1] > 1 else 1.0


def best_of_draws(posterior, x, rng, scale):
    return np.array([(posterior.sample_parameters(rng, scale) @ x).argmax() for _ in range(DRAWS)])


@pytest.mark.parametrize("played", [(), (6, 1, 1, 4), (2,) * 60, (7, 0, 2, 5, 1, 3, 6, 4, 4)])
@pytest.mark.parametrize(
    ("prior", "scale"),
    [
        (independent, 1.0),
        (chain(1, 0), 0.5),
        (chain(2, 0), 1.0),
        (chain(2, 1), 0.5),
        (chain(2, 2), 1.0),
        (singular, 1.0),
    ],
    ids=["independent", "depth1", "depth2", "branch1", "branch2", "singular"],
)
def test_the_action_has_the_law_of_the_best_of_a_draw(prior, scale, played):
    rng = np.random.default_rng([len(played), int(2 * scale)])
    posterior = played_posterior(prior(rng, 3), 8, played, rng)
    x = rng.uniform(-1, 1, 3)
    best = best_of_draws(posterior, x, rng, scale)
    one_by_one = np.array([int(posterior.thompson(x, rng, scale)) for _ in range(DRAWS)])
    batch = posterior.thompson(np.repeat(x[None], DRAWS, axis=0), rng, scale)
    assert batch.shape == (DRAWS,)
    assert posterior.thompson(x, rng, scale).shape == ()
    assert same_law(best, one_by_one, 8) > RARE
    assert same_law(best, batch, 8) > RARE


def test_the_scale_matters():
    """The test above can distinguish two scales."""
    rng = np.random.default_rng(0)
    posterior = played_posterior(chain(1, 0)(rng, 3), 8, (6, 1, 1, 4), rng)
    contexts = np.repeat(rng.uniform(-1, 1, (1, 3)), DRAWS, axis=0)
    wide, narrow = (posterior.thompson(contexts, rng, scale) for scale in (1.0, 0.8))
    assert same_law(wide, narrow, 8) < RARE


def test_both_posteriors_choose_by_the_same_law():
    rng = np.random.default_rng(1)
    prior = LinearDiffusionPrior([np.ones((2, 2))], [wishart(rng, 2), wishart(rng, 2)], [np.ones(2)])
    sparse, dense = TwoLevelPosterior(prior.two_level(), 5, 0.7), JointPosterior(prior, 5, 0.7)
    for a in (3, 3, 1, 0):
        x, y = rng.uniform(-1, 1, 2), float(rng.standard_normal())
        sparse.update(x, a, y)
        dense.update(x, a, y)
    contexts = np.repeat(rng.uniform(-1, 1, (1, 2)), DRAWS, axis=0)
    assert same_law(sparse.thompson(contexts, rng, 0.7), dense.thompson(contexts, rng, 0.7), 5) > RARE
    assert dense.thompson(contexts[0], rng).shape == ()


def test_a_batch_in_parts_has_the_law_of_a_batch_in_one(monkeypatch):
    rng = np.random.default_rng(2)
    posterior = played_posterior(chain(2, 1)(rng, 3), 8, (6, 1, 1, 4), rng)
    contexts = np.repeat(rng.uniform(-1, 1, (2, 3)), DRAWS, axis=0)
    whole, greedy = posterior.thompson(contexts, rng), posterior.greedy(contexts)
    monkeypatch.setattr(action_posterior, "_BATCH_SCORES", 100)  # 16 rows of 6 packed numbers
    parts = posterior.thompson(contexts, rng)
    assert parts.shape == whole.shape
    for half in (slice(DRAWS), slice(DRAWS, None)):
        assert same_law(whole[half], parts[half], 8) > RARE
    np.testing.assert_array_equal(posterior.greedy(contexts), greedy)


def test_rows_of_a_batch_are_independent():
    """Two rows agree as often as two independent draws do: sum of squared probabilities."""
    rng = np.random.default_rng(3)
    posterior = played_posterior(chain(1, 0)(rng, 3), 4, (2, 1), rng)
    actions = posterior.thompson(np.repeat(rng.uniform(-1, 1, (1, 3)), 2 * DRAWS, axis=0), rng)
    agree = np.bincount(actions, minlength=4) / (2 * DRAWS)
    expected = float((agree**2).sum())
    share = (actions[::2] == actions[1::2]).mean()
    assert abs(share - expected) / np.sqrt(expected * (1 - expected) / DRAWS) < 4.5


@pytest.mark.parametrize("played", [(), (0,)])
def test_a_single_action_is_always_chosen(played):
    rng = np.random.default_rng(4)
    posterior = played_posterior(chain(1, 0)(rng, 1), 1, played, rng)
    x = np.ones((20, 1))
    for chosen in (posterior.thompson(x, rng), posterior.upper_confidence(x, rng), posterior.greedy(x)):
        assert chosen.tolist() == [0] * 20
    assert int(posterior.thompson(x[0], rng)) == 0


def ddpm():
    network = DenoiserNetwork(*(np.ones(shape) for shape in ((4, 2), (1, 4, 4), (1, 4, 4), (2, 4), (2,), (3, 2, 4))))
    return DiffusionPrior(*reverse_chain(network, noise_schedule(3)))


BATCHES = {
    "closed form": ("dTS", random_linear_prior(2, 2), {}),
    "independent": ("LinTS", random_linear_prior(2, 2), {}),
    "joint": ("JointTS", random_linear_prior(2, 2), {}),
    "expanded": ("GLM-TS", random_linear_prior(2, 2), {}),
    "particles": ("dTS", random_mlp_prior(2, 2), {"num_particles": 4}),
    "branched": ("dTS", random_mlp_prior(2, 2), {"num_particles": 4, "branch": 1}),
    "slice": ("dTS", random_mlp_prior(2, 2), {"approximation": "slice"}),
    "mixture": ("MixTS", random_linear_prior(2, 2), {"num_components": 2}),
    "laplace": ("LaplaceDPS", ddpm(), {}),
}


# JointTS needs a parameter for every action.
@pytest.mark.parametrize(
    ("name", "features"),
    [(name, "disjoint") for name in BATCHES] + [(name, "shared") for name in BATCHES if name != "joint"],
)
def test_a_batch_of_draws_has_the_law_of_single_draws(name, features):
    """Energy distance of 400 draws at once to 800 one by one, z < 4.5; of a batch before the data it is far out."""
    agent_id, prior, settings = BATCHES[name]
    model = BernoulliReward() if name == "expanded" else GaussianReward(0.5)
    problem = BanditProblem(3, 2, prior, model, features=features)
    agent, rng = make_agent(agent_id, problem, seed=0, **settings), np.random.default_rng(0)
    lead = (3, 2) if features == "disjoint" else (2,)
    before = agent.sample_parameters(400).reshape(400, -1)
    contexts, actions = rng.uniform(-1, 1, (30, *problem.context_shape)), np.arange(30) % 2  # the third is unplayed
    agent.update(contexts, actions, actions * (contexts.reshape(30, -1)[:, 0] > 0).astype(float))
    assert agent.sample_parameters().shape == lead
    batch = agent.sample_parameters(400)
    assert batch.shape == (400, *lead)
    singly = np.array([agent.sample_parameters().ravel() for _ in range(800)])
    assert energy_score(batch.reshape(400, -1), singly, rng).z_score < 4.5
    assert energy_score(before, singly, rng).z_score > 6
    with pytest.raises(ValueError, match="size must be an integer >= 1, got 0"):
        agent.sample_parameters(0)
