"""Ratings: every format returns the same, every fault is reported, downloads are checked."""

import functools
import hashlib
import http.server
import io
import logging
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dts_gym.datasets import download, fetch_release, load_ratings

ROWS = [(7, 30, 4.0, 881250949), (2, 30, 5.0, 881250950), (7, 12, 3.0, 881250951), (9, 1000, 0.5, 881250952)]
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ml-latest-small"


def text(name):
    if name == "ratings.csv":
        return "userId,movieId,rating,timestamp\n" + "".join(f"{u},{m},{r},{t}\n" for u, m, r, t in ROWS)
    mark = "::" if name == "ratings.dat" else "\t"
    return "".join(mark.join(map(str, row)) + "\n" for row in ROWS)


@pytest.mark.parametrize("name", ["u.data", "ratings.dat", "ratings.csv"])
@pytest.mark.parametrize("holder", ["file", "folder", "zip"])
def test_every_format_and_holder_gives_the_same_ratings(tmp_path, name, holder):
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / name).write_text(text(name))
    (folder / "README.txt").write_text("licence")
    data = {"file": folder / name, "folder": folder, "zip": tmp_path / "ml.zip"}[holder]
    if holder == "zip":
        with zipfile.ZipFile(data, "w") as archive:
            archive.write(folder / "README.txt", "ml/README.txt")
            archive.write(folder / name, f"ml/{name}")
    ratings = load_ratings(data)
    assert ratings.user_ids.tolist() == [2, 7, 9]
    assert ratings.movie_ids.tolist() == [12, 30, 1000]
    assert ratings.users.tolist() == [1, 0, 1, 2]
    assert ratings.movies.tolist() == [1, 1, 0, 2]
    assert ratings.values.tolist() == [4.0, 5.0, 3.0, 0.5]
    assert ratings.users.dtype == ratings.movies.dtype == np.int32
    assert (len(ratings), ratings.num_users, ratings.num_movies) == (4, 3, 3)


def test_files_longer_than_a_block_are_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("dts_gym.datasets.movielens._BLOCK", 7)
    file = tmp_path / "u.data"
    file.write_text("".join(f"{i % 5}\t{i}\t{i % 6}\t0\n" for i in range(21)))
    ratings = load_ratings(file)
    assert ratings.movie_ids.tolist() == list(range(21))
    assert ratings.values.tolist() == [float(i % 6) for i in range(21)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ratings.csv", "user,movie\n1,2\n", "the header"),
        ("ratings.csv", "", "the header"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n", "ratings, got none"),
        ("u.data", "", "ratings, got none"),
        ("u.data", "1\t2\n", "lines of user, movie, rating"),
        ("u.data", "1\t2\tgood\t0\n", "lines of user, movie, rating"),
        ("u.data", "1\t2\tnan\t0\n", "ratings of 0 to 5 stars"),
        ("u.data", "1\t2\t99\t0\n", "ratings of 0 to 5 stars"),
        ("u.data", "1.5\t2\t3\t0\n", "user ids"),
        ("u.data", "1\t-2\t3\t0\n", "movie ids"),
        ("u.data", "1\tinf\t3\t0\n", "movie ids"),
    ],
)
def test_faulty_files_are_refused_by_name(tmp_path, name, content, expected):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(ValueError, match=f"data must hold {expected}") as caught:
        load_ratings(file)
    assert str(file) in str(caught.value)


def test_places_without_ratings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data must be a path .*'ml-1m'"):
        load_ratings("ml-2m")
    with pytest.raises(ValueError, match="data must be a folder with one of"):
        load_ratings(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="data must be a zip or a file named one of"):
        load_ratings(tmp_path / "notes.txt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(ValueError, match="data must be a zip with one of"):
        load_ratings(tmp_path / "a.zip")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        return


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local server of one small release, and an empty cache."""
    served = tmp_path / "served"
    served.mkdir()
    with zipfile.ZipFile(served / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", text("u.data"))
    md5 = hashlib.md5((served / "ml-100k.zip").read_bytes()).hexdigest()
    monkeypatch.setitem(download.RELEASES, "ml-100k", md5)
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))
    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_a_release_is_downloaded_once_and_its_licence_named_then(server, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "dts_gym"):
        path = fetch_release("ml-100k", server)
    assert path == tmp_path / "cache" / "ml-100k.zip"
    assert [record.name for record in caplog.records] == ["dts_gym"]
    assert "Harper and Konstan" in caplog.text
    caplog.clear()
    assert fetch_release("ml-100k", "http://127.0.0.1:9/") == path  # no server there: nothing is asked
    assert not caplog.records
    assert load_ratings("ml-100k").user_ids.tolist() == [2, 7, 9]


def test_a_release_with_another_hash_is_refused_and_not_kept(server, tmp_path, monkeypatch):
    monkeypatch.setitem(download.RELEASES, "ml-100k", "0" * 32)
    with pytest.raises(ValueError, match="hash"):
        fetch_release("ml-100k", server)
    assert not list((tmp_path / "cache").iterdir())


def whole_zip(folder):
    with zipfile.ZipFile(folder / "ml-latest-small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-latest-small/ratings.csv", text("ratings.csv"))
        archive.writestr("ml-latest-small/README.txt", "licence " * 500)
    return (folder / "ml-latest-small.zip").read_bytes()


def spoiled(whole):
    """A release without an MD5 as a proxy, a broken connection and a full disk leave it."""
    flipped = bytearray(whole)
    flipped[whole.index(b"ratings.csv") + 30] ^= 255
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("notes.txt", "x")
    return {
        "page": (b"<!doctype html><title>Sign in</title>", "it is no whole zip"),
        "half": (whole[: len(whole) // 2], "it is no whole zip"),
        "nothing": (b"", "it is no whole zip"),
        "flipped": (bytes(flipped), "ratings.csv' in it is damaged|it is no whole zip"),
        "another": (other.getvalue(), r"there is no ratings\.csv in it"),
    }


@pytest.mark.parametrize("fault", ["page", "half", "nothing", "flipped", "another"])
def test_a_release_without_a_hash_is_checked_before_it_is_kept(server, tmp_path, fault):
    whole = whole_zip(tmp_path / "served")
    content, message = spoiled(whole)[fault]
    (tmp_path / "served" / "ml-latest-small.zip").write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{server}ml-latest-small.zip must be .* as published, but .*({message})"
    ) as e:
        fetch_release("ml-latest-small", server)
    assert "\n" not in str(e.value)
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "served" / "ml-latest-small.zip").write_bytes(whole)
    assert fetch_release("ml-latest-small", server).read_bytes() == whole
    assert load_ratings("ml-latest-small").user_ids.tolist() == [2, 7, 9]


@pytest.mark.parametrize("fault", ["page", "half", "nothing", "flipped", "another"])
def test_a_bad_file_that_was_kept_is_named_with_what_to_do(server, tmp_path, fault):
    whole = whole_zip(tmp_path / "served")
    kept = fetch_release("ml-latest-small", server)
    content, message = spoiled(whole)[fault]
    kept.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_ratings("ml-latest-small")
    assert str(caught.value).startswith(f"{str(kept)!r} must be ml-latest-small as published, but ")
    assert str(caught.value).endswith(": delete it, and it is downloaded again")
    kept.unlink()
    assert fetch_release("ml-latest-small", server).read_bytes() == whole


@pytest.mark.parametrize("fault", ["absent", "unreachable"])
def test_without_the_file_or_the_network_the_error_says_what_to_do(server, tmp_path, fault):
    name, base = ("ml-1m", server) if fault == "absent" else ("ml-100k", "http://127.0.0.1:9/")
    with pytest.raises(ConnectionError) as caught:
        fetch_release(name, base)
    for needed in (f"{base}{name}.zip", "--data", "data=", "DTS_GYM_DATA", str(tmp_path / "cache")):
        assert needed in str(caught.value)


def test_unknown_releases_are_refused():
    with pytest.raises(ValueError, match="release among"):
        fetch_release("ml-3m")


def test_the_real_ratings_load():
    if not SHARED.exists():
        pytest.skip("this machine does not have the MovieLens ratings for development")
    ratings = load_ratings(SHARED)
    lines = (SHARED / "ratings.csv").read_text().splitlines()[1:]
    assert len(ratings) == len(lines)
    user, movie, value, _ = lines[1234].split(",")
    assert ratings.user_ids[ratings.users[1234]] == int(user)
    assert ratings.movie_ids[ratings.movies[1234]] == int(movie)
    assert ratings.values[1234] == float(value)
