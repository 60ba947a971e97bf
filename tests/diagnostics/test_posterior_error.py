"""Errors of posterior draws: the truth against quadrature and dense posteriors, the errors against known ones."""

import csv
import dataclasses
import functools
import json
import sys

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from dts_gym import make_agent
from dts_gym.cli.entry import main
from dts_gym.diagnostics import posterior_error
from dts_gym.diagnostics import truth as truth_module
from dts_gym.diagnostics.energy import energy_score
from dts_gym.diagnostics.error_problems import PLANAR, PRETRAINED, PROBLEMS
from dts_gym.diagnostics.error_records import CONTROL, ErrorRecord, ErrorSettings, PosteriorErrors
from dts_gym.diagnostics.error_report import error_table, summarise, verdict
from dts_gym.diagnostics.posterior_error import history_errors
from dts_gym.diagnostics.reweighted_prior import draw_pool
from dts_gym.diagnostics.truth import make_history, pretrained_pool, true_posterior
from dts_gym.harness.figures import COLOURS
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.mcmc import slice_sampling
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample_rewards
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.links import MLPLink
from dts_gym.priors.random_priors import random_linear_prior
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward

MODELS = {"bernoulli": BernoulliReward(), "poisson": PoissonReward(), "gaussian": GaussianReward(0.8)}


def z_of_means(values, expected):
    """z-scores of functions' means, (samples, chains, ...), with errors from the spread over independent chains."""
    by_chain = values.mean(axis=0)
    return (by_chain.mean(axis=0) - expected) / (by_chain.std(axis=0, ddof=1) / np.sqrt(len(by_chain)))


def moments_of(theta):
    """First and second moments of the last axis, stacked."""
    products = theta[..., :, None] * theta[..., None, :]
    return np.concatenate([theta, products.reshape(*theta.shape[:-1], -1)], axis=-1)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("reward", ["bernoulli", "poisson"])
def test_one_action_of_a_linear_chain_has_its_quadrature(reward, share, monkeypatch):
    """theta ~ N(0, C) marginally, its posterior on a grid: 6 moments, |z| < 4.5; whatever part the guide takes."""
    monkeypatch.setattr(slice_sampling, "_GUIDE_SHARE", share)
    rng, model = np.random.default_rng(3), MODELS[reward]
    W = rng.uniform(-1, 1, (2, 2))
    prior = LinearDiffusionPrior([W], [0.5 * np.eye(2), np.eye(2)], [np.array([0.4, -0.3])])
    X = rng.uniform(-1.5, 1.5, (6, 2))
    y = model.sample(rng, X @ np.array([1.0, -1.0]))
    axis = np.linspace(-7, 7, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    apart = grid - prior.offsets[0]
    log_density = -0.5 * np.einsum("ni,ij,nj->n", apart, np.linalg.inv(0.5 * np.eye(2) + W @ W.T), apart)
    log_density += model.log_likelihood(y, grid @ X.T).sum(axis=1)
    weight = np.exp(log_density - log_density.max())
    expected = weight @ moments_of(grid) / weight.sum()
    found = slice_sample_rewards(prior, model, X, np.zeros(6, dtype=int), y, 1, rng, 40, thin=2, chains=100)
    assert found.values.shape == (40, 100, 1, 2)
    assert found.r_hat.max() < 1.05
    z = z_of_means(moments_of(found.values[:, :, 0]), expected)
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("reward", ["bernoulli", "poisson", "gaussian"])
def test_two_actions_of_a_perceptron_have_their_quadrature(reward):
    """d = 1, L = 1, all three integrals on grids, an action without data among them: 3 + 6 moments, |z| < 4.5."""
    rng, model = np.random.default_rng(4), MODELS[reward]
    link = MLPLink([[[2.0], [-1.0]], [[1.0, 0.7]]], [[0.5, 0.2], [-0.5]], activation="tanh")
    prior = DiffusionPrior([link], [[[0.3]], [[1.0]]])
    x, played = rng.uniform(-1.5, 1.5, 12), np.arange(12) % 2
    y = model.sample(rng, x * np.array([1.5, -0.5])[played])
    psi, theta = np.linspace(-6, 6, 601), np.linspace(-6, 6, 601)
    log_joint = -0.5 * (theta - link(psi[:, None])) ** 2 / 0.3  # (psi, theta)
    evidence, means = np.exp(-0.5 * psi**2), []
    for a in range(3):
        log_likelihood = model.log_likelihood(y[played == a], theta[:, None] * x[played == a]).sum(axis=1)
        weight = np.exp(log_joint + log_likelihood - log_likelihood.max())
        evidence = evidence * weight.sum(axis=1)
        means.append([weight @ f / weight.sum(axis=1) for f in (theta, theta**2)])
    evidence /= evidence.sum()
    first, second = np.moveaxis(np.array(means), 1, 0)  # (3, psi): given psi the thetas are independent
    products = np.einsum("ap,bp,p->ab", first, first, evidence)
    np.fill_diagonal(products, second @ evidence)
    expected = np.append(first @ evidence, products)
    found = slice_sample_rewards(prior, model, x[:, None], played, y, 3, rng, 60, thin=2, chains=100)
    assert np.abs(z_of_means(moments_of(found.values[..., 0]), expected)).max() < 4.5


def test_a_linear_chain_with_gaussian_rewards_is_dense():
    rng, model = np.random.default_rng(5), MODELS["gaussian"]
    prior = random_linear_prior(2, 2, seed=1)
    X, played, y = rng.uniform(-1, 1, (30, 2)), rng.integers(3, size=30), rng.standard_normal(30)
    found = slice_sample_rewards(prior, model, X, played, y, 4, rng, 4, thin=20, burn_in=40, chains=150)
    dense = JointPosterior(prior, 4, 0.8)
    for i in range(30):
        dense.update(X[i], int(played[i]), float(y[i]))
    truth = np.array([dense.sample_parameters(rng).ravel() for _ in range(1200)])
    assert energy_score(found.values.reshape(-1, 8), truth, rng).z_score < 4.5
    fewer = slice_sample_rewards(prior, model, X[:20], played[:20], y[:20], 4, rng, 4, thin=20, chains=150)
    assert energy_score(fewer.values.reshape(-1, 8), truth, rng).z_score > 6


def test_without_rewards_it_draws_the_prior():
    prior, rng = PROBLEMS["mlp"].prior(np.random.SeedSequence(0)), np.random.default_rng(6)
    none = np.empty((0, 2)), np.empty(0, dtype=int), np.empty(0)
    found = slice_sample_rewards(prior, BernoulliReward(), *none, 3, rng, 4, burn_in=0, chains=200)
    drawn = np.array([prior.sample(rng, 3).ravel() for _ in range(1000)])
    assert energy_score(found.values.reshape(-1, 6), drawn, rng).z_score < 4.5


def test_the_chains_refuse_what_does_not_fit():
    prior, rng = random_linear_prior(2, 1), np.random.default_rng(0)
    good = {"contexts": np.ones((3, 2)), "actions": [0, 1, 1], "rewards": [0.0, 1.0, 1.0]}
    for name, value, message in (
        ("contexts", np.ones((3, 1)), r"contexts must have shape \(any, 2\)"),
        ("contexts", np.full((3, 2), np.nan), "contexts must be finite"),
        ("rewards", [0.0, 1.0], r"rewards must have shape \(3,\)"),
        ("rewards", [0.0, 1.0, 0.5], "reward must be 0 or 1, got 0.5"),
        ("actions", [0, 1], r"actions must have shape \(3,\), as rewards have, got shape \(2,\)"),
        ("actions", [0, 1, 2], r"actions must be an integer in 0\.\.1, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            slice_sample_rewards(
                prior, BernoulliReward(), **{**good, name: value}, num_actions=2, rng=rng, num_samples=9
            )


def test_a_history_is_the_beginning_of_a_longer_one():
    for problem in PROBLEMS.values():
        short, long = (make_history(problem, n, np.random.SeedSequence(7)) for n in (20, 50))
        for first, second in zip(short[1:], long[1:], strict=True):
            np.testing.assert_array_equal(first, second[:20])
    assert np.abs(long.contexts).max() <= 1
    assert set(long.actions) == set(range(5))


def test_poisson_counts_stay_small():
    counts = [make_history(PROBLEMS["poisson"], 200, np.random.SeedSequence(s)).rewards.max() for s in range(50)]
    assert np.median(counts) < 20
    assert max(counts) < 1000


def test_the_closed_form_is_at_the_floor_and_the_deck_is_not():
    """Three histories: the sum of three z-scores of exact draws is below 4.5 sqrt(3); those of the deck are far out."""
    records = [r for seed in range(3) for r in history_errors(PROBLEMS["linear"], (10, 100), seed, 200)]
    for n in (10, 100):
        for method in (CONTROL, "closed form", "linearised", "32 particles"):
            scores = [r.z_score for r in records if (r.observations, r.method) == (n, method)]
            assert len(scores) == 3
            assert sum(scores) / np.sqrt(3) < 4.5
    deck = [r for r in records if r.method == "deck" and r.observations == 10]
    assert sum(r.z_score for r in deck) / np.sqrt(3) > 10
    assert all(r.energy > 10 * r.noise_floor for r in deck)
    assert all((r.sampler, r.r_hat, r.effective_draws, r.trusted) == ("dense", 1.0, np.inf, True) for r in records)


def ddpm_pool(size, depth=8):
    """Of a denoising diffusion prior whose data are N(0, I), with the exact denoiser: a posterior is in closed form."""
    shapes = ((2, 2), (1, 2, 2), (1, 2, 2), (2, 2), (2,), (depth, 2, 2))
    network, bars = DenoiserNetwork(*(np.zeros(shape) for shape in shapes)), noise_schedule(depth)
    prior = DiffusionPrior(*reverse_chain(network, bars, (1 - bars)[:, None, None] * np.eye(2)), branch=depth)
    return draw_pool(prior, size, np.random.default_rng(0))


def test_the_truth_of_a_shared_parameter_is_conjugate():
    """Of N(0, I) data: the posterior's precision is I + X'X. Five moments of 8000 draws, |z| < 4.5; a pool that is too
    small for its draws is no truth."""
    pool = ddpm_pool(200_000)
    history = make_history(PRETRAINED["cross"], 50, np.random.SeedSequence(1), pool.prior)
    assert np.linalg.norm(history.contexts, axis=2).max() <= 1 < np.sqrt(2) * np.abs(history.contexts).max()
    X, y = history.contexts[np.arange(20), history.actions[:20]], history.rewards[:20]
    cov = np.linalg.inv(np.eye(2) + X.T @ X)
    truth = true_posterior(history, 20, 4000, np.random.default_rng(0), pool)
    assert (truth.sampler, truth.r_hat, truth.trusted) == ("pool", 1.0, True)
    assert truth.draws.shape == (8000, 2)
    assert not set(truth.draws[:, 0]) & set(truth.control[:, 0])
    for sample in (truth.draws, truth.control):
        white = np.linalg.solve(np.linalg.cholesky(cov), (sample - cov @ X.T @ y).T).T
        z = np.array([*white.mean(axis=0), *(np.square(white).mean(axis=0) - 1) / 2**0.5, white.prod(axis=1).mean()])
        assert np.abs(z).max() / np.sqrt(1 / len(sample) + 1 / truth.effective_draws) < 4.5
    few = true_posterior(history, 20, 4000, np.random.default_rng(0), ddpm_pool(3000))
    assert few.effective_draws < 3000
    assert not few.trusted
    with pytest.raises(ValueError, match="must have a pool"):
        true_posterior(history, 20, 50, np.random.default_rng(0))


def test_laplace_dps_is_a_method_of_shapes_and_off():
    """Exact denoisers of normal data: statistical surrogates are the links, so that one particle is exact; three
    histories, their z-scores' sum below 4.5 sqrt(3). LaplaceDPS counts the evidence on every level."""
    pool = ddpm_pool(240_000)
    records = [r for seed in range(3) for r in history_errors(PRETRAINED["cross"], (5, 30), seed, 400, pool)]
    assert [r.method for r in records[:6]] == [
        CONTROL, "LaplaceDPS", "deck", "linearised", "8 particles", "32 particles",
    ]  # fmt: skip
    z = {
        (m, n): sum(r.z_score for r in records if (r.method, r.observations) == (m, n)) / np.sqrt(3)
        for m in {r.method for r in records}
        for n in (5, 30)
    }
    for method in (CONTROL, "linearised", "8 particles", "32 particles"):
        assert max(z[method, 5], z[method, 30]) < 4.5
    assert (z["LaplaceDPS", 5] + z["LaplaceDPS", 30]) / np.sqrt(2) > 6
    assert all(r.sampler == "pool" and r.trusted for r in records)
    again = history_errors(PRETRAINED["cross"], (5, 30), 2, 400, pool)
    assert records[-len(again) :] == again


def test_shapes_are_asked_for_by_name_and_need_torch(tmp_path, monkeypatch):
    assert not set(PROBLEMS) & set(PRETRAINED)
    assert set(PLANAR) == {"cross", "rays", "triangles", "swirl", "H", "corners"}
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install -c constraints.txt -e '\.\[torch\]'"):
        posterior_error.posterior_error(["linear", "planar"], out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="problem must have a shape, got 'linear'"):
        pretrained_pool(PROBLEMS["linear"], 50)
    with pytest.raises(ValueError, match="link of 'cross' must be drawn"):
        make_history(PRETRAINED["cross"], 5, np.random.SeedSequence(0))


def test_a_prior_is_learned_once_a_shape(monkeypatch):
    """The same records from one process and from two."""
    pytest.importorskip("torch", reason="torch is not installed")
    learned = []

    def fit(theta, depth, **settings):
        learned.append((theta.shape, depth, settings["schedule"]))
        return fully(theta, 6, **settings)

    fully = functools.partial(truth_module.fit, max_steps=100, hidden=8)
    monkeypatch.setattr(truth_module, "fit", fit)
    asked = dict(problems=["rays", "linear"], observations=[3], seeds=2, draws=50)
    one, two = (posterior_error.posterior_error(**asked, num_workers=workers) for workers in (1, 2))
    assert one.records == two.records
    assert [record.problem for record in one.records] == ["rays"] * 12 + ["linear"] * 10
    assert learned == [((10_000, 2), 100, "constant")] * 2


def test_linearised_is_one_particle():
    bandit = make_history(PROBLEMS["mlp"], 5, np.random.SeedSequence(0)).problem
    agents = [
        make_agent("dTS", bandit, seed=1, **settings)
        for settings in ({"approximation": "linearised"}, {"approximation": "particles", "num_particles": 1})
    ]
    for agent in agents:
        agent.update(np.ones((3, 2)), np.arange(3), np.ones(3))
    np.testing.assert_array_equal(*(agent.sample_parameters() for agent in agents))


def test_errors_are_in_the_truth_s_units():
    """A shifted, stretched truth: both errors follow from the shift and the stretch."""
    rng = np.random.default_rng(8)
    root = rng.standard_normal((3, 3))
    truth = rng.standard_normal((5000, 3)) @ root.T
    shift, mean = np.array([0.3, 0.0, -0.4]), truth.mean(axis=0)
    cov_root = np.linalg.cholesky(np.cov(truth.T))
    errors = posterior_error._Whitener(truth).errors(mean + 1.5 * (truth - mean) + cov_root @ shift)
    assert errors == pytest.approx((np.linalg.norm(shift) / np.sqrt(3), 1.5**2 - 1))


def test_a_truth_of_independent_parts_that_says_when_it_is_none(monkeypatch):
    history = make_history(PROBLEMS["mlp-bernoulli"], 30, np.random.SeedSequence(0))
    truth = true_posterior(history, 30, 55, np.random.default_rng(0))
    assert truth.draws.shape == (110, 10)
    assert truth.control.shape == (55, 10)
    assert not set(truth.draws[:, 0]) & set(truth.control[:, 0])
    assert truth.r_hat < 1.05
    for name, value in (("_BURN_IN", 0), ("_THIN", 1), ("_MOST_THIN", 1)):
        monkeypatch.setattr(truth_module, name, value)
    assert true_posterior(history, 30, 55, np.random.default_rng(0)).r_hat > 1.05


def made_up(errors, histories=4):
    """Records of the control and one method, from (mean error, covariance error, z, R-hat) of Markov chains."""
    records = []
    for n, (mean, cov, z, r_hat) in errors.items():
        for method, numbers in (
            (CONTROL, (0.1, 0.2, 0.001, 0.004, 0.0)),
            ("deck", (mean, cov, 0.01 * z, 0.004, z)),
        ):
            truth = "chains", r_hat, np.inf, r_hat < 1.05
            records += [ErrorRecord("linear", n, method, seed, *numbers, *truth) for seed in range(histories)]
    return PosteriorErrors(ErrorSettings(("linear",), tuple(errors), tuple(range(histories)), 100), tuple(records))


def test_grades_follow_from_the_numbers():
    few = {1: (0.1, 0.2, 2.2, 1.0), 10: (0.2, 0.3, 2.3, 1.0)}
    errors = made_up(few | {100: (0.1, 0.6, 9.0, 1.0), 1000: (1.0, 1.0, 9.0, 1.1)})
    rows = {row.observations: row for row in summarise(errors) if row.method == "deck"}
    assert [row.grade for row in rows.values()] == ["floor", "close", "off", "no truth"]
    assert rows[10].z_score == pytest.approx(4.6)  # 4 histories of 2.3
    assert rows[10].noise_floor == pytest.approx(0.002)
    assert rows[10].mean_excess == pytest.approx(np.sqrt(0.03))
    assert "deck: floor at n = 1; close at n = 10; off at n = 100 (0.57); no truth at n = 1000" in verdict(errors)
    assert "linear: none" in verdict(errors)
    assert "chains, R-hat 1.100!" in error_table(errors)
    assert "linear: deck" in verdict(made_up(few))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"problems": ["linear", "cubic"]}, "problems must be among linear, mlp, .*, got 'cubic'"),
        ({"problems": "linear"}, "problems must be a list, got 'linear'"),
        ({"problems": []}, "problems must be at least one"),
        ({"problems": ["mlp", "mlp"]}, "none of them twice"),
        ({"problems": ["planar", "cross"]}, "none of them twice"),
        ({"observations": [10, 0]}, "observations must be an integer >= 1, got 0"),
        ({"observations": [10, 10]}, "observations must be at least one, none of them twice"),
        ({"seeds": 0}, "seeds must be an integer >= 1, got 0"),
        ({"draws": 49}, "draws must be an integer >= 50, got 49"),
        ({"num_workers": 0}, "num_workers must be an integer >= 1, got 0"),
    ],
)
def test_refusals_name_the_argument(asked, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        posterior_error.posterior_error(**asked, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


SMALL = ["--problems", "poisson", "linear", "--observations", "10", "2", "--seeds", "2", "--draws", "50"]


def test_the_command_keeps_what_it_prints(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["posterior-error", *SMALL, "--no-progress", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert sorted(entry.name for entry in out.iterdir()) == [
        "errors.csv", "posterior-error.png", "settings.json", "table.txt",
    ]  # fmt: skip
    with open(out / "errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = {"problem": str, "observations": int, "method": str, "seed": int, "sampler": str, "trusted": "True".__eq__}
    records = tuple(ErrorRecord(**{k: texts.get(k, float)(v) for k, v in row.items()}) for row in rows)
    errors = PosteriorErrors(ErrorSettings(("poisson", "linear"), (2, 10), (0, 1), 50), records)
    assert (out / "table.txt").read_text() == f"{error_table(errors)}\n{verdict(errors)}"
    assert (out / "table.txt").read_text() in printed
    again = history_errors(PROBLEMS["linear"], (2, 10), 1, 50)
    assert [record for record in records if (record.problem, record.seed) == ("linear", 1)] == again
    order = [(row["problem"], int(row["observations"]), row["seed"]) for row in rows if row["method"] == "deck"]
    assert order == [(p, n, s) for p in ("poisson", "linear") for n in (2, 10) for s in "01"]
    settings = json.loads((out / "settings.json").read_text())
    assert settings["settings"]["draws"] == 50
    assert settings["problems"][0]["scale"] == 0.5
    picture = image.imread(out / "posterior-error.png")[..., :3]
    for colour in (*COLOURS[:6], "0.85"):  # five methods of Poisson, one more of the linear problem, the floor
        assert (np.abs(picture - np.array(to_rgb(colour))).max(axis=-1) < 0.02).sum() > 50
    assert main(["posterior-error", *SMALL, "--out", str(out)]) == 2
    assert "out must be a new or empty folder" in capsys.readouterr().err


def test_what_is_done_is_kept_when_stopped(tmp_path, monkeypatch, capsys):
    whole = posterior_error.history_errors

    def stopped(problem, observations, seed, draws, pool):
        if seed == 1:
            raise KeyboardInterrupt
        return whole(problem, observations, seed, draws, pool)

    monkeypatch.setattr(posterior_error, "history_errors", stopped)
    arguments = ["--problems", "linear", "--observations", "1", "--seeds", "2", "--draws", "50", "--no-progress"]
    assert main(["posterior-error", *arguments, "--out", str(tmp_path / "out")]) == 130
    assert len((tmp_path / "out" / "errors.csv").read_text().splitlines()) == 1 + 5
    capsys.readouterr()
    assert main(["posterior-error", *arguments, "--draws", "60", "--out", str(tmp_path / "out"), "--resume"]) == 2
    assert "got settings.draws = 50, asked for 60" in capsys.readouterr().err
    asked = []

    def noted(problem, observations, seed, draws, pool):
        asked.append(seed)
        return whole(problem, observations, seed, draws, pool)

    monkeypatch.setattr(posterior_error, "history_errors", noted)
    assert main(["posterior-error", *arguments, "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert asked == [1]  # the history that was not done, alone
    assert main(["posterior-error", *arguments, "--out", str(tmp_path / "anew")]) == 0
    texts = [(tmp_path / name / "errors.csv").read_text() for name in ("out", "anew")]
    assert texts[0] == texts[1]
    asked.clear()
    more = ["3" if each == "2" else each for each in arguments]
    assert main(["posterior-error", *more, "--out", str(tmp_path / "out"), "--resume"]) == 0
    assert asked == [2]
    assert set(texts[0].splitlines()) < set((tmp_path / "out" / "errors.csv").read_text().splitlines())
    assert main(["posterior-error", *arguments, "--out", str(tmp_path / "out"), "--resume"]) == 2
    assert "with all its seeds or more, got settings.seeds[2] = 2, asked for None" in capsys.readouterr().err


@pytest.mark.slow
def test_any_number_of_workers_finds_the_same():
    asked = {"observations": [1, 30], "seeds": 2, "draws": 100}
    one, two = (posterior_error.posterior_error(["linear", "mlp"], **asked, num_workers=n) for n in (1, 2))
    for records in zip(one.records, two.records, strict=True):
        for first, second in zip(*map(dataclasses.astuple, records), strict=True):
            assert first == (second if isinstance(second, str) else pytest.approx(second, rel=1e-6, abs=1e-9))


@pytest.mark.slow
def test_on_perceptrons_particles_reach_the_floor_and_the_deck_is_far():
    """Four histories, 32 particles: the sum of z-scores below 4.5 times 2."""
    found = posterior_error.posterior_error(["mlp"], observations=[10, 100], seeds=4, draws=300)
    rows = {(row.method, row.observations): row for row in summarise(found)}
    for n in (10, 100):
        assert rows["32 particles", n].grade == rows[CONTROL, n].grade == "floor"
        assert rows["deck", n].grade == "off"
