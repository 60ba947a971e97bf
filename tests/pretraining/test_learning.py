"""Pre-training against the distributions of the data: moments, energy distances, torch's own values."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import choose_branch, load_prior, random_linear_prior
from dts_gym.cli import pretrain
from dts_gym.cli.pretrain import run_pretrain
from dts_gym.datasets.shapes import sample_shape
from dts_gym.diagnostics.energy import energy_score
from dts_gym.diagnostics.prior_report import prior_figure, prior_report
from dts_gym.pretraining.learning import fit
from dts_gym.pretraining.noisy_vectors import clean_moments, matched_shrinkage
from dts_gym.pretraining.robustness import quantile_distances
from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.denoisers import DenoiserLink
from dts_gym.priors.outliers import outliers
from dts_gym.priors.reverse_process import noise_schedule

QUICK = {"depth": 5, "max_steps": 100, "hidden": 16}


def normal(n, seed=0, d=2):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ (np.eye(d) + np.triu(np.ones((d, d)), 1)).T + np.arange(d)


def independent(prior, n, seed=9):
    return prior.with_branch(prior.depth).sample(np.random.default_rng(seed), n)


def test_clean_moments_are_those_without_the_errors():
    """Uniform clean vectors, errors of many covariances; |z| < 4.5 over 40 repetitions."""
    rng = np.random.default_rng(0)
    d, N = 2, 500
    found = []
    for _ in range(40):
        clean = rng.uniform(-np.sqrt(3), np.sqrt(3), (N, d)) @ np.array([[1.0, 0.5], [0.0, 0.7]]) + 2.0
        roots = rng.standard_normal((N, d, d))
        mean, cov = clean_moments(clean + (roots @ rng.standard_normal((N, d, 1)))[..., 0], roots @ roots.mT)
        found.append(np.append(mean, cov[np.triu_indices(d)]))
    truth = np.array([2.0, 2.0, 1.0, 0.5, 0.74])
    z = (np.mean(found, axis=0) - truth) / (np.std(found, axis=0, ddof=1) / np.sqrt(len(found)))
    assert np.abs(z).max() < 4.5
    assert np.std(found, axis=0).max() < 0.3


def test_one_law_of_errors_leaves_the_difference_of_covariances():
    seen, noise = normal(500), 0.3 * np.eye(2)
    mean, cov = clean_moments(seen, noise)
    np.testing.assert_allclose(mean, seen.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(cov, np.cov(seen.T, bias=True) - noise, atol=1e-4)
    _, cov = clean_moments(seen, 100 * np.eye(2))
    assert np.linalg.eigvalsh(cov)[0] > 0


def test_matched_shrinkage_leaves_unit_covariance():
    rng = np.random.default_rng(0)
    roots = rng.standard_normal((20_000, 2, 2))
    seen = rng.standard_normal((20_000, 2)) + (roots @ rng.standard_normal((20_000, 2, 1)))[..., 0]
    cov = np.cov(matched_shrinkage(seen, roots @ roots.mT).T)
    assert (np.abs(cov - np.eye(2)) / np.sqrt(2 / 20_000)).max() < 4.5


def test_without_torch_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install -c constraints.txt -e '\.\[torch\]'"):
        fit(normal(50))


def test_importing_the_package_and_the_module_loads_no_torch():
    script = "import sys, dts_gym, dts_gym.pretraining; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


BAD = [
    (lambda: fit(np.c_[normal(50), np.ones(50)]), r"columns \[2\] constant"),
    (lambda: fit(np.c_[normal(50), normal(50).sum(axis=1)]), "confined to a hyperplane"),
    (lambda: fit(np.where(normal(50) > 2, np.nan, normal(50))), "theta must be finite, got nan"),
    (lambda: fit(1e100 * normal(50)), r"theta must be at most 1e\+50 in size, got \d\.\d+e\+100"),
    (lambda: fit(normal(50), noise_cov=1e101 * np.eye(2)), r"noise_cov must be at most 1e\+100 in size, got 1e\+101"),
    (
        lambda: choose_branch(random_linear_prior(2, 1), [1e60 * normal(5)]),
        r"catalogues\[0\] must be at most 1e\+50 in size",
    ),
    (lambda: fit(normal(4, d=5)), "theta must have 7 distinct rows at least.* got 4 of 4"),
    (lambda: fit(np.repeat(normal(3), 20, axis=0)), "got 3 of 60"),
    (lambda: fit(normal(50)[:, 0]), r"theta must have shape \(any, any\)"),
    (lambda: fit(np.empty((50, 0))), "a column at least"),
    (lambda: fit(normal(50), depth=0), "depth must be an integer >= 1, got 0"),
    (lambda: fit(normal(50), branch=41), r"branch must be an integer in 0\.\.40, got 41"),
    (lambda: fit(normal(50), branch="all"), r"branch must be an integer in 0\.\.40, got 'all'"),
    (lambda: fit(normal(50), branch="auto", noise_cov=np.eye(2)), "branch must be a number or None with noise_cov"),
    (
        lambda: fit(normal(50), catalogues=[0] * 50),
        "catalogues must be left out unless branch is .auto.",
    ),
    (
        lambda: fit(normal(50), branch="auto", catalogues=[0] * 49),
        "catalogues must be a label a vector",
    ),
    (lambda: fit(normal(50), held_out=0.9), "held_out must be a number above 0 and at most 0.5"),
    (lambda: fit(normal(50), learning_rate=-1.0), "learning_rate must be a positive finite number"),
    (lambda: fit(normal(50), variance="wide"), "variance must be one of"),
    (lambda: fit(normal(50), seed=-1), "seed must be an integer >= 0"),
    (lambda: fit(normal(50), noise_cov=-np.eye(2)), "noise_cov must be positive semi-definite"),
    (lambda: fit(normal(50), noise_cov=np.array([np.eye(2)] * 49 + [-np.eye(2)])), r"noise_cov\[49\] must be positive"),
    (lambda: fit(normal(50), noise_cov=np.ones((7, 2, 2))), r"noise_cov must have shape \(50, 2, 2\)"),
    (lambda: fit(normal(50), device="abacus"), "device must be one that torch can use"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_refused(call, message):
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.usefixtures("torch")
class TestWithTorch:
    """What needs torch."""

    def test_numpy_gives_the_values_of_torch(self, torch):
        from dts_gym.pretraining.trainer import Trainer, TrainingSettings

        bars = noise_schedule(6)
        trainer = Trainer(TrainingSettings(bars, 16, 2, 64, 5e-3, "cpu", False), 3, seed=1)
        x = normal(200, d=3)
        trainer.train(x[20:], x[:20], 60, "")
        z = np.random.default_rng(0).standard_normal((40, 3))
        layers = trainer._layers(trainer._average)
        times = trainer._times(layers)
        for step in (1, 4, 6):
            inside = trainer._velocity(layers, torch.tensor(z, dtype=torch.float32), times[[step - 1] * 40])
            ours = DenoiserLink(trainer.network(), step, 0.5, 0.9).velocity(z)
            assert np.abs(ours).max() > 0.1
            np.testing.assert_allclose(ours, inside.detach().numpy(), atol=1e-5)

    def test_a_seed_decides_everything_and_other_randomness_is_left_alone(self, torch):
        before = torch.get_rng_state()
        first, same, other = (fit(normal(100), seed=seed, **QUICK) for seed in (1, 1, 2))
        np.testing.assert_array_equal(independent(first, 9), independent(same, 9))
        assert (independent(first, 9) != independent(other, 9)).any()
        assert torch.equal(before, torch.get_rng_state())

    def test_moments_are_the_datas_whatever_depth_and_shape(self):
        theta = sample_shape("moons", np.random.default_rng(0), 400) @ np.array([[1.0, 2.0], [0.0, 30.0]]) + 100.0
        for depth in (1, 8):
            draws = independent(fit(theta, depth, max_steps=100), 40_000)
            std = theta.std(axis=0)
            chance = np.sqrt(1 / 40_000 + 1 / 50_000)  # of these draws and of the calibration's
            assert (np.abs(draws.mean(axis=0) - theta.mean(axis=0)) / std).max() < 4.5 * chance
            ratio = np.linalg.eigvals(np.linalg.solve(np.cov(theta.T, bias=True), np.cov(draws.T))).real
            assert np.abs(ratio - 1).max() < 2 * 4.5 * np.sqrt(2) * chance

    def test_the_shape_is_learned(self):
        rng = np.random.default_rng(0)
        theta, held = sample_shape("moons", rng, 3000), sample_shape("moons", rng, 6000)
        gaussian = LinearDiffusionPrior([], [np.cov(theta.T)])
        prior = fit(theta, 20, max_steps=1000)
        learned, normal_law = (energy_score(independent(p, 6000), held, rng, 20) for p in (prior, gaussian))
        assert learned.distance < 0.15 * normal_law.distance

    @pytest.mark.parametrize("many", [False, True])
    def test_errors_are_not_learned(self, many):
        """Covariances of the clean vectors, where the seen ones have twice and three times the variance."""
        rng = np.random.default_rng(0)
        N = 1500
        clean = np.sign(rng.standard_normal((N, 2))) * [1.0, 2.0] + 0.1 * rng.standard_normal((N, 2))
        noise = np.diag([1.0, 4.0]) * (rng.uniform(0.5, 1.5, N)[:, None, None] if many else 1.0)
        seen = clean + (np.sqrt(noise) @ rng.standard_normal((N, 2, 1)))[..., 0]
        prior = fit(seen, 8, noise_cov=noise, max_steps=400, hidden=32)
        variance = independent(prior, 20_000).var(axis=0)
        np.testing.assert_allclose(variance, [1.01, 4.01], rtol=0.15)
        assert (seen.var(axis=0) > [1.8, 7.0]).all()

    @pytest.mark.parametrize("noisy", [False, True])
    def test_a_few_outliers_do_not_lose_the_rest(self, noisy):
        """One vector in 100 at 30 standard deviations: without the cure the largest difference of shares is .26."""
        rng = np.random.default_rng(0)
        theta = normal(2000)
        theta[::100] += 30.0 * theta.std(axis=0) * np.sign(rng.standard_normal((20, 2)))
        errors = np.tile(1e-4 * np.eye(2), (2000, 1, 1)) if noisy else None
        with pytest.warns(UserWarning, match="theta has 20 of 2000 vectors more than 8 .* row 0 for one") as caught:
            prior = fit(theta, 8, noise_cov=errors, max_steps=100, hidden=16, noise_rounds=0)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        # A right prior exceeds 1.95 sqrt(1/20000 + 1/2000) = .046 once in 1000; a hundredth is lost with the outliers.
        assert quantile_distances(independent(prior, 20_000), theta).max() < 0.056

    @pytest.mark.slow
    def test_a_few_outliers_do_not_lose_a_shape(self):
        rng = np.random.default_rng(0)
        theta = sample_shape("moons", rng, 3000)
        theta[::100] += 30.0 * theta.std(axis=0) * np.sign(rng.standard_normal((30, 2)))
        with pytest.warns(UserWarning, match="theta has 30 of 3000 vectors"):
            prior = fit(theta, 20, max_steps=2000)
        assert quantile_distances(independent(prior, 20_000), theta).max() < 0.06

    def test_training_that_is_too_short_is_warned_of(self):
        """Without training the prior is normal: its mean and covariance are right, its quantiles are not."""
        theta = np.sign(np.random.default_rng(0).standard_normal((2000, 2))) + 0.1 * normal(2000)
        with pytest.warns(UserWarning, match=r"the prior's quantiles are not the vectors'.*Train longer \(max_steps\)"):
            prior = fit(theta, 10, max_steps=0, hidden=16)
        report = prior_report(prior, theta)
        assert np.abs(report.std_ratio - 1).max() < 0.05
        assert report.quantile_error.max() > 0.1 > report.quantile_tolerance
        assert "quantiles: shares below a value off by at most 0." in str(report)

    def test_duplicates_do_not_straddle_the_split_and_are_no_error(self):
        from dts_gym.pretraining.learning import _split

        rows = np.repeat(normal(20), 5, axis=0)
        inner = _split(rows, 0.2, np.random.default_rng(0)).reshape(20, 5)
        assert (inner == inner[:, :1]).all()
        assert 0 < inner[:, 0].sum() < 20
        prior = fit(rows, **QUICK)
        assert np.isfinite(independent(prior, 10)).all()

    def test_few_rows_and_one_dimension_will_do(self):
        for theta in (normal(4), np.random.default_rng(0).standard_normal((3, 1))):
            assert np.isfinite(independent(fit(theta, **QUICK), 10)).all()

    def test_textbook_variances_end_in_none(self):
        prior = fit(normal(50), variance="posterior", branch=0, **QUICK)
        np.testing.assert_array_equal(prior.covariances[0], np.zeros((2, 2)))
        np.testing.assert_array_equal(prior.covariances[-1], np.eye(2))
        assert (prior.branch, prior.depth) == (0, 5)

    def test_the_command_writes_prior_report_and_figure(self, tmp_path):
        pytest.importorskip("safetensors", reason="safetensors is not installed")
        theta = normal(300)
        np.save(tmp_path / "x.npy", theta)
        rows = "\n".join(",".join(map(repr, row)) for row in theta.tolist())
        (tmp_path / "x.csv").write_text(f"first,second\n{rows}\n")
        options = {"depth": 3, "max_steps": 20, "progress": False}
        text = run_pretrain(str(tmp_path / "x.npy"), tmp_path / "p.safetensors", figure=tmp_path / "p.png", **options)
        assert "energy distance" in text
        assert "coverage" in text
        assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
        run_pretrain(str(tmp_path / "x.csv"), tmp_path / "q.safetensors", **options)
        draws = [independent(load_prior(tmp_path / f"{name}.safetensors"), 5) for name in "pq"]
        np.testing.assert_array_equal(*draws)

    @pytest.mark.slow
    def test_rounds_of_em_sharpen_the_shape(self):
        """Two clusters at -1 and 1 under errors of standard deviation 1/2: kurtosis 1.04 clean, 1.8 without rounds."""
        rng = np.random.default_rng(0)
        seen = np.sign(rng.standard_normal((3000, 1))) + np.sqrt(0.01 + 0.25) * rng.standard_normal((3000, 1))
        kurtosis = []
        for rounds in (0, 4):
            prior = fit(seen, 40, noise_cov=0.25 * np.eye(1), max_steps=2000, hidden=32, noise_rounds=rounds)
            z = independent(prior, 20_000)
            kurtosis.append(((z - z.mean()) ** 4).mean() / z.var() ** 2)
        assert kurtosis[1] < kurtosis[0] - 0.1

    @pytest.mark.slow
    @pytest.mark.parametrize(("shape", "dim"), [("swiss-roll", 3), ("moons", 2), ("cross", 2), (None, 5)])
    def test_draws_of_a_full_training_are_near_the_noise_floor(self, shape, dim):
        """A prior from 10 000 vectors against 4000 others of the same distribution: three floors, and the moments."""
        rng = np.random.default_rng(0)
        theta, held = (normal(n, n, dim) if shape is None else sample_shape(shape, rng, n, dim) for n in (10_000, 4000))
        report = prior_report(fit(theta), held)
        assert report.energy.distance < 3 * report.energy.noise_floor
        assert np.abs(report.std_ratio - 1).max() < 0.06
        assert np.abs(np.array(report.covered) - [0.5, 0.9]).max() < 0.03


def test_a_report_tells_a_right_prior_from_wrong_ones(tmp_path):
    vectors = normal(1000)
    right = LinearDiffusionPrior([np.eye(2)], [0.5 * np.array([[2.0, 1.0], [1.0, 1.0]])] * 2, [np.arange(2)])
    report = prior_report(right, vectors)
    assert abs(report.energy.z_score) < 4.5
    assert np.abs(report.mean_error).max() < 4.5 * report.mean_standard_error
    np.testing.assert_allclose(report.std_ratio, 1.0, atol=0.1)
    np.testing.assert_allclose(report.covered, [0.5, 0.9], atol=0.05)
    assert report.correlation_error < 0.1
    noise = np.array([[0.5, -0.2], [-0.2, 0.3]])
    seen = vectors + np.random.default_rng(1).multivariate_normal(np.zeros(2), noise, len(vectors))
    for given in (noise, np.tile(noise, (len(seen), 1, 1))):
        assert abs(prior_report(right, seen, noise_cov=given).energy.z_score) < 4.5
    assert prior_report(right, seen).energy.z_score > 4.5
    wide = LinearDiffusionPrior(right.weights, [4 * cov for cov in right.covariances], right.offsets)
    report = prior_report(wide, vectors)
    assert report.energy.z_score > 4.5
    assert report.covered[0] > 0.6
    assert "z-score" in str(report)
    with pytest.raises(ValueError, match="theta must have more than 22 rows, got 5"):
        prior_report(right, vectors[:5])
    for d in (1, 2, 4):
        prior_figure(LinearDiffusionPrior([np.eye(d)], [np.eye(d)] * 2), normal(30, d=d), tmp_path / f"{d}.png")
        assert (tmp_path / f"{d}.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2\n3\n", "numbers in every row, got .'3'. in row 2"),
        (b"a,b\n", "a row of numbers at least"),
        (b"1,2\n3,x\n", "in row 2"),
    ],
)
def test_a_bad_csv_file_is_refused(content, message, tmp_path):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run_pretrain(str(tmp_path / "x.csv"), tmp_path / "p.safetensors", progress=False)


def test_the_command_learns_the_past_of_a_shape(tmp_path, monkeypatch):
    """The vectors are those that the environment of that shape shows as its past, in some order."""
    seen = []

    def no_fit(theta, *_, **__):
        seen.append(theta)
        return LinearDiffusionPrior([np.eye(theta.shape[1])], [np.eye(theta.shape[1])] * 2)

    monkeypatch.setattr(pretrain, "fit", no_fit)
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    for options, settings in (
        ({}, {}),
        ({"size": 30, "dim": 3, "seed": 7}, {"num_past": 30, "dim": 3, "past_seed": 7}),
    ):
        run_pretrain("cross", tmp_path / "p.safetensors", test=0.0, **options)
        past = gym.make("SyntheticBandit-v0", shape="cross", **settings).unwrapped.problem.past_parameters
        np.testing.assert_array_equal(np.sort(seen[-1], axis=0), np.sort(past, axis=0))
    assert seen[0].shape == (10_000, 2)
    for options, message in (({"size": 0}, "size must be an integer >= 1, got 0"), ({"dim": 1}, "dim must be an")):
        with pytest.raises(ValueError, match=message):
            run_pretrain("cross", tmp_path / "p.safetensors", **options)


def test_bad_arguments_of_the_command_are_refused(tmp_path):
    (tmp_path / "x.npy").write_bytes(b"no array")
    out = tmp_path / "p.safetensors"
    with pytest.raises(ValueError, match=r"data must be a \.npy file"):
        run_pretrain(str(tmp_path / "x.npy"), out)
    with pytest.raises(ValueError, match="test must be a share"):
        run_pretrain(str(tmp_path / "x.npy"), out, test=1.0)
    with pytest.raises(ValueError, match="out must be a file in a folder that exists"):
        run_pretrain(str(tmp_path / "x.npy"), tmp_path / "none" / "p")
    with pytest.raises(ValueError, match="data must be a path to a zip"):
        run_pretrain("nothing-of-that-name", out)


@pytest.mark.usefixtures("torch")
def test_the_branch_follows_the_catalogues():
    """Catalogues whose centres differ by far more than their vectors share levels; random subsets share none."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 30)
    theta = 2.0 * rng.standard_normal((60, 2))[labels] + 0.5 * rng.standard_normal((1800, 2))
    shared = fit(theta, branch="auto", catalogues=labels, held_out=0.3, **QUICK)
    assert shared.branch < 5
    assert fit(theta, branch="auto", held_out=0.3, **QUICK).branch == 5


@pytest.mark.usefixtures("torch")
def test_normal_data_leave_the_network_silent_and_the_chain_linear():
    prior = fit(normal(400, d=3), depth=5, hidden=16, max_steps=2000)
    chain = as_linear(prior)
    assert chain is not None
    collapsed = chain.with_branch(5).two_level()
    data = normal(400, d=3)
    np.testing.assert_allclose(collapsed.mean, data.mean(axis=0), atol=0.02)
    cov = np.cov(data.T)
    np.testing.assert_allclose(collapsed.action_cov, cov, atol=0.04 * np.abs(cov).max())


def test_the_number_of_threads_changes_nothing_and_stays(torch):
    theta = np.random.default_rng(0).standard_normal((300, 2))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            prior = fit(theta, 3, max_steps=30)
            assert torch.get_num_threads() == threads
            found.append(prior.sample(np.random.default_rng(1), 5))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


def test_outliers_are_those_far_from_the_others_in_any_units():
    rng = np.random.default_rng(0)
    units = np.array([[1000.0, 0.0], [999.0, 1.0]])
    theta = rng.standard_normal((1000, 2))
    assert not outliers(theta @ units.T).any()
    theta[[3, 500]] = [[0.0, 9.5], [-20.0, 0.0]]  # the first one far across a narrow direction
    for moved in (theta, theta @ units.T, theta + 1e6):
        np.testing.assert_array_equal(np.flatnonzero(outliers(moved)), [3, 500])


def test_a_small_cluster_and_heavy_shapes_are_no_outliers():
    rng = np.random.default_rng(0)
    cluster = 0.1 * rng.standard_normal((1000, 2)) + np.where(rng.random((1000, 1)) < 0.1, 5.0, 0.0)
    assert not outliers(cluster).any()
    for shape in ("moons", "cross", "swiss-roll"):
        assert not outliers(sample_shape(shape, rng, 2000)).any()
    assert not outliers(rng.exponential(size=(2000, 3))).any()
    assert not outliers(rng.standard_normal((2000, 60))).any()
    assert not outliers(np.repeat([[0.0, 1.0], [0.0, 2.0], [0.0, 90.0]], [50, 50, 3], axis=0)).any()


def test_quantile_distances_are_those_of_the_two_sample_test():
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    draws, vectors = rng.standard_normal((300, 3)).round(1), rng.standard_normal((200, 3)).round(1)
    vectors += np.array([0.0, 0.3, 2.0])
    truth = [ks_2samp(draws[:, j], vectors[:, j]).statistic for j in range(3)]
    np.testing.assert_allclose(quantile_distances(draws, vectors), truth, atol=1e-12)
