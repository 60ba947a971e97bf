"""Prior files: equal draws after a round trip, in a process without torch; damaged and foreign files refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dts_gym import load_prior
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.prior_files import read_prior_file, write_prior_file
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain

safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def denoising_prior():
    rng = np.random.default_rng(0)
    shapes = [(6, 2), (2, 6, 6), (2, 6, 6), (2, 6), (2,), (4, 3, 6)]
    network = DenoiserNetwork(*(0.5 * rng.standard_normal(shape) for shape in shapes))
    links, covs = reverse_chain(network, noise_schedule(4), scale=np.diag([1.0, 2.0]), offset=np.ones(2))
    return DiffusionPrior(links, covs, 2)


PRIORS = {
    "linear": lambda: random_linear_prior(3, 2, branch=1),
    "empty": lambda: LinearDiffusionPrior([], [np.eye(2)]),
    "mlp": lambda: random_mlp_prior(2, 3, branch=3),
    "denoiser": denoising_prior,
}


@pytest.mark.parametrize("kind", PRIORS)
def test_a_loaded_prior_draws_the_same(kind, tmp_path):
    prior = PRIORS[kind]()
    prior.save(tmp_path / "p.safetensors")
    again = load_prior(tmp_path / "p.safetensors")
    assert type(again) is type(prior)
    assert (again.branch, again.depth, again.dim) == (prior.branch, prior.depth, prior.dim)
    draws = [p.sample(np.random.default_rng(1), 50) for p in (prior, again)]
    np.testing.assert_array_equal(*draws)
    again.save(tmp_path / "q.safetensors")
    assert (tmp_path / "p.safetensors").read_bytes() == (tmp_path / "q.safetensors").read_bytes()


@pytest.mark.parametrize("kind", PRIORS)
def test_draws_are_the_same_in_a_process_without_torch(kind, tmp_path):
    prior = PRIORS[kind]()
    prior.save(tmp_path / "p.safetensors")
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, dts_gym\n"
        "prior = dts_gym.load_prior('p.safetensors')\n"
        "np.save('draws.npy', prior.sample(np.random.default_rng(1), 50))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, timeout=60)
    np.testing.assert_array_equal(np.load(tmp_path / "draws.npy"), prior.sample(np.random.default_rng(1), 50))


def test_every_flipped_byte_and_every_cut_is_refused(tmp_path):
    path = tmp_path / "p.safetensors"
    random_linear_prior(2, 1).save(path)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="path must be a"):
            load_prior(path)
    for length in (0, 1, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="path must be a prior file"):
            load_prior(path)


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "p.safetensors"
    for content in (
        safetensors_numpy.save({"weight": np.eye(2)}),
        safetensors_numpy.save({"weight": np.eye(2)}, metadata={"format": "pt"}),
        safetensors_numpy.save({"weight": np.eye(2)}, metadata={"dts_gym.prior": "3"}),
        b"\x80\x04K\x01.",
        json.dumps({"kind": "linear"}).encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="path must be a prior file written by dts_gym"):
            load_prior(path)
    with pytest.raises(ValueError, match="path must be a prior file"):
        load_prior(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"prior must be a file that Prior\.save wrote, there is none"):
        load_prior(tmp_path / "none.safetensors")


def test_a_newer_format_says_so(tmp_path):
    content = safetensors_numpy.save({"a": np.eye(2)}, metadata={"dts_gym.prior": '{"version": 2}'})
    (tmp_path / "p.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="its version is 2, this package reads 1"):
        load_prior(tmp_path / "p.safetensors")


@pytest.mark.parametrize("settings", [{}, {"kind": "linear"}, {"kind": "diffusion", "branch": 0, "links": [3]}])
def test_a_whole_file_without_a_whole_prior_is_refused(settings, tmp_path):
    write_prior_file(tmp_path / "p", settings, {"covariances": np.ones((2, 1, 1))})
    with pytest.raises(ValueError, match="prior"):
        load_prior(tmp_path / "p")


def test_without_safetensors_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match="pip install"):
        random_linear_prior(2, 1).save(tmp_path / "p")
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="there is none at"):  # the package would not help
        read_prior_file(tmp_path / "p")
    (tmp_path / "p").write_bytes(b"")
    with pytest.raises(ImportError, match="pip install"):
        read_prior_file(tmp_path / "p")
