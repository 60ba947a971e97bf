"""Factors against the dense objective, planted factors, and the properties of their basis."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dts_gym.datasets import Ratings, cached_factors, factorise
from dts_gym.utils.archives import read_archive, write_archive

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ml-latest-small"


def planted(num_users=300, num_movies=120, rank=3, noise=0.3, density=0.4, seed=0):
    rng = np.random.default_rng(seed)
    users, movies = rng.standard_normal((num_users, rank)), rng.standard_normal((num_movies, rank))
    mask = rng.random((num_users, num_movies)) < density
    mask[:, 0] = mask[0] = True
    u, m = np.nonzero(mask)
    values = 3.0 + (users @ movies.T)[u, m] + noise * rng.standard_normal(len(u))
    ids = np.arange(num_users), np.arange(num_movies)
    return Ratings(u.astype(np.int32), m.astype(np.int32), values.astype(np.float32), *ids), users @ movies.T


def test_the_passes_end_where_the_dense_objective_is_flat():
    ratings, _ = planted(30, 20, density=0.6)
    weight = 0.05
    factors = factorise(ratings, 2, regularisation=weight, num_iterations=2000)
    # The basis was changed after the fit, so look at what is left of it: the products, which minimise the loss among
    # all of rank 2. A stationary point in factors with |u|^2, |m|^2 weights is one in any rotation of them; undo the
    # change of basis by the weighted balance that ALS-WR's optimum has.
    n_u, n_m = np.bincount(ratings.users), np.bincount(ratings.movies)
    A = (factors.user_factors * n_u[:, None]).T @ factors.user_factors
    B = (factors.movie_factors * n_m[:, None]).T @ factors.movie_factors
    # T with T'AT = T^-1 B T^-T, the geometric mean that balances both penalties.
    root = np.linalg.cholesky(A)
    values, vectors = np.linalg.eigh(root.T @ B @ root)
    T = np.linalg.solve(root.T, vectors) * values**0.25
    U, M = factors.user_factors @ T, factors.movie_factors @ np.linalg.inv(T).T
    dense, seen = np.zeros((30, 20)), np.zeros((30, 20))
    dense[ratings.users, ratings.movies] = ratings.values.astype(np.float64) - factors.mean
    seen[ratings.users, ratings.movies] = 1.0
    error = seen * (U @ M.T - dense)
    np.testing.assert_allclose(error @ M + weight * n_u[:, None] * U, 0.0, atol=1e-6)
    np.testing.assert_allclose(error.T @ U + weight * n_m[:, None] * M, 0.0, atol=1e-6)


def test_planted_factors_and_their_noise_are_found():
    ratings, truth = planted()
    factors = factorise(ratings, 3, regularisation=1e-3, num_iterations=40)
    fitted = factors.mean + factors.user_factors @ factors.movie_factors.T
    # About 1260 numbers fitted to 14 600 ratings: 0.3 * sqrt(1260 / 14600) = 0.088, and as much again for the rest.
    assert np.sqrt(np.mean((fitted - 3.0 - truth) ** 2)) < 0.15
    # 14 000 ratings: the standard error of the standard deviation is 0.3 / sqrt(2 * 14000) = 0.0018; 4.5 of them.
    assert abs(factors.noise_std - 0.3) < 0.009
    assert factors.counts.tolist() == np.bincount(ratings.movies).tolist()


def test_the_basis_is_the_one_promised_and_the_seed_decides():
    ratings, _ = planted()
    factors = factorise(ratings, 3)
    np.testing.assert_allclose(np.cov(factors.user_factors, rowvar=False), np.eye(3), atol=1e-10)
    moments = factors.movie_factors.T @ factors.movie_factors
    np.testing.assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-8)
    assert (np.diff(np.diag(moments)) < 0).all()
    assert (factors.movie_factors.max(axis=0) == np.abs(factors.movie_factors).max(axis=0)).all()
    again = factorise(ratings, 3)
    np.testing.assert_array_equal(again.movie_factors, factors.movie_factors)


def test_the_order_of_ratings_and_blocks_changes_nothing_but_rounding(monkeypatch):
    ratings, _ = planted()
    order = np.random.default_rng(1).permutation(len(ratings))
    shuffled = replace(ratings, users=ratings.users[order], movies=ratings.movies[order], values=ratings.values[order])
    first = factorise(ratings, 3)
    monkeypatch.setattr("dts_gym.datasets.factorisation._BLOCK", 100)
    second = factorise(shuffled, 3)
    np.testing.assert_allclose(second.movie_factors, first.movie_factors, atol=1e-6)
    assert abs(second.noise_std - first.noise_std) < 1e-8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank must be an integer in 1..20, got 0"),
        ({"rank": 21}, "rank must be an integer in 1..20, got 21"),
        ({"regularisation": 0.0}, "regularisation must be a positive finite number, got 0.0"),
        ({"num_iterations": 0}, "num_iterations must be an integer >= 1, got 0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"rank": 19, "regularisation": 1e-9}, "rank must leave degrees of freedom"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    ratings, _ = planted(30, 20)
    with pytest.raises(ValueError, match=message):
        factorise(ratings, **settings)


def write(folder, ratings):
    rows = zip(ratings.users, ratings.movies, ratings.values.clip(0, 5), strict=True)
    (folder / "u.data").write_text("".join(f"{u}\t{m}\t{r}\t0\n" for u, m, r in rows))


def test_factors_are_cached_by_content_and_settings_and_damage_is_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    write(tmp_path, planted(30, 20)[0])
    first = cached_factors(tmp_path, 2)
    files = list((tmp_path / "cache" / "factors").iterdir())
    assert len(files) == 1
    monkeypatch.setattr("dts_gym.datasets.factorisation.factorise", None)  # a hit computes nothing
    hit = cached_factors(tmp_path / "u.data", 2)
    monkeypatch.undo()
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    np.testing.assert_array_equal(hit.movie_factors, first.movie_factors)
    assert (hit.mean, hit.noise_std) == (first.mean, first.noise_std)

    files[0].write_bytes(files[0].read_bytes()[:100])
    with pytest.warns(UserWarning, match="computed anew"):
        mended = cached_factors(tmp_path, 2)
    np.testing.assert_array_equal(mended.movie_factors, first.movie_factors)

    cached_factors(tmp_path, 3)
    write(tmp_path, planted(30, 20, seed=5)[0])
    other = cached_factors(tmp_path, 2)
    assert other.mean != first.mean
    assert len(list((tmp_path / "cache" / "factors").iterdir())) == 3


def changed(arrays, settings, name, value):
    if name in settings:
        settings[name] = value
    else:
        arrays[name] = value(arrays[name])


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("movie_factors", lambda array: array * np.nan),
        ("movie_factors", lambda array: array[:, :1]),
        ("user_factors", lambda array: array[0]),
        ("counts", lambda array: array[:-1]),
        ("counts", lambda array: array.astype(float)),
        ("noise_std", -1.0),
        ("mean", float("nan")),
        ("rank", 3),
    ],
)
def test_a_readable_file_with_wrong_content_is_computed_anew(tmp_path, monkeypatch, name, value, sealed):
    """Wrong content with an old digest or, which no accident makes, with a right one."""
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    write(tmp_path, planted(30, 20)[0])
    first = cached_factors(tmp_path, 2)
    (file,) = (tmp_path / "cache" / "factors").iterdir()
    right = file.read_bytes()
    arrays, settings = read_archive(file)
    changed(arrays, settings, name, value)
    if sealed:
        write_archive(file, arrays, settings)
    else:
        with np.load(file) as held:
            digest = held["sha256.txt"]
        text = np.frombuffer(json.dumps(settings).encode(), dtype=np.uint8)
        with open(file, "wb") as handle:
            np.savez(handle, **arrays, **{"settings.json": text, "sha256.txt": digest})
    with pytest.warns(UserWarning, match="the cached factors are computed anew: path must be"):
        again = cached_factors(tmp_path, 2)
    np.testing.assert_array_equal(again.movie_factors, first.movie_factors)
    assert file.read_bytes() == right


def test_an_edited_number_of_the_cache_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    write(tmp_path, planted(30, 20)[0])
    first = cached_factors(tmp_path, 2)
    (file,) = (tmp_path / "cache" / "factors").iterdir()
    with np.load(file) as held:
        members = {name: held[name] for name in held.files}
    members["movie_factors"][0, 0] += 1e-3
    with open(file, "wb") as handle:
        np.savez(handle, **members)
    with pytest.warns(UserWarning, match="does not match its digest"):
        again = cached_factors(tmp_path, 2)
    np.testing.assert_array_equal(again.movie_factors, first.movie_factors)


_TWIN = """
import sys, time
from dts_gym.datasets import cached_factors, factorisation
real = factorisation.factorise
def factorise(*arguments, **settings):
    print("computing", flush=True)
    time.sleep(1)
    return real(*arguments, **settings)
factorisation.factorise = factorise
print(repr(cached_factors(sys.argv[1], 2).noise_std))
"""


def test_of_two_processes_on_one_cache_one_computes(tmp_path):
    write(tmp_path, planted(30, 20)[0])
    cache = tmp_path / "cache"
    (cache / "factors").mkdir(parents=True)
    env = {**os.environ, "DTS_GYM_DATA": str(cache)}
    start = [sys.executable, "-c", _TWIN, str(tmp_path)]
    twins = [subprocess.Popen(start, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    printed = [twin.communicate(timeout=120) for twin in twins]
    assert [twin.returncode for twin in twins] == [0, 0], printed
    assert sum(out.count("computing") for out, _ in printed) == 1
    assert len({out.splitlines()[-1] for out, _ in printed}) == 1
    assert len(list((cache / "factors").iterdir())) == 1


def test_what_a_killed_process_left_in_the_cache_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    write(tmp_path, planted(30, 20)[0])
    cached_factors(tmp_path, 2)
    (file,) = (tmp_path / "cache" / "factors").iterdir()
    file.unlink()
    other = file.with_name(".another.npz.0123.part")
    for rest in (file.with_name(f".{file.name}.0123.part"), file.with_name(f".{file.name}.lock"), other):
        rest.write_bytes(b"{")
    cached_factors(tmp_path, 2)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, other.name])


def test_real_ratings_are_fitted_better_than_by_their_mean():
    if not SHARED.exists():
        pytest.skip("this machine does not have the MovieLens ratings for development")
    from dts_gym.datasets import load_ratings

    ratings = load_ratings(SHARED)
    held = np.random.default_rng(0).random(len(ratings)) < 0.1
    kept = {name: getattr(ratings, name)[~held] for name in ("users", "movies", "values")}
    factors = factorise(replace(ratings, **kept), 5)
    u, m, y = (getattr(ratings, name)[held] for name in ("users", "movies", "values"))
    fitted = factors.mean + np.einsum("nr,nr->n", factors.user_factors[u], factors.movie_factors[m])
    assert np.sqrt(np.mean((fitted - y) ** 2)) < 0.88 * y.std()
    assert 0.7 < factors.noise_std < 0.9


_LARGE = """
import numpy as np, resource
from dts_gym.datasets import Ratings, factorise
n, U, M = 25_000_000, 162_000, 59_000
rng = np.random.default_rng(0)
users, movies = rng.integers(U, size=n, dtype=np.int32), rng.integers(M, size=n, dtype=np.int32)
ratings = Ratings(users, movies, rng.integers(1, 11, size=n).astype(np.float32) / 2, np.arange(U), np.arange(M))
factorise(ratings, 5, num_iterations=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_25_million_ratings_fit_in_8_gigabytes():
    done = subprocess.run([sys.executable, "-c", _LARGE], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 8e9
