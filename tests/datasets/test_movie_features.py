"""Genres and years of movies: every format that GroupLens has used, gaps, damage, and the cache."""

import zipfile

import numpy as np
import pytest

from dts_gym.datasets import load_movie_features

# Movies 2, 5, 7 and 9 are rated; 5 has no year, 7 no genres, and the file of movies lacks 9. Movie 4 is not rated.
RATED = (2, 5, 7, 9)
CSV = (
    "movieId,title,genres\n"
    '2,"Cité, La: ""été"" (Stadt, Die) (1995)",Comedy|Drama\n'
    "4,Unrated (1900),Western\n"
    "5,A Play,Comedy\n"
    "7,Série – Zwei (2006–2009),(no genres listed)\n"
)
DAT = "2::Cité :: La (1995)::Comedy|Drama\n4::Unrated (1900)::Western\n5::A Play::Comedy\n7::Série (2006-)::\n"


def flags(*genres):
    order = [
        *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
        *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
    ]
    return "|".join("1" if genre in genres else "0" for genre in order)


ITEM = (
    f"2|Cité, La (1995)|01-Jan-1995||http://there|{flags('Comedy', 'Drama')}\n"
    f"4|Unrated (1900)|||there|{flags('Western')}\n"
    f"5|A Play||||{flags('Comedy')}\n"
    f"7|unknown (2006)||||{flags('unknown')}\n"
)
FORMATS = {
    "csv": ("ratings.csv", "userId,movieId,rating,timestamp\n", "1,{},4.0,0\n", "movies.csv", CSV, "utf-8"),
    "csv-bom": ("ratings.csv", "userId,movieId,rating,timestamp\n", "1,{},4.0,0\n", "movies.csv", CSV, "utf-8-sig"),
    "dat-latin": ("ratings.dat", "", "1::{}::4::0\n", "movies.dat", DAT, "latin-1"),
    "dat": ("ratings.dat", "", "1::{}::4::0\n", "movies.dat", DAT, "utf-8"),
    "item": ("u.data", "", "1\t{}\t4\t0\n", "u.item", ITEM, "latin-1"),
    "crlf": ("u.data", "", "1\t{}\t4\t0\n", "u.item", ITEM.replace("\n", "\r\n"), "latin-1"),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path / "cache"))


def written(folder, name):
    ratings, header, line, movies, text, encoding = FORMATS[name]
    folder.mkdir(exist_ok=True)
    (folder / ratings).write_text(header + "".join(line.format(movie) for movie in RATED))
    (folder / movies).write_bytes(text.encode(encoding))
    return folder


# By hand: movie 9, unknown, has the means over those that are known, movie 7 the means of the genres alone.
EXPECTED = [[1, 1, 1995], [1, 0, (1995 + 2006) / 2], [1, 0.5, 2006], [1, 0.5, (1995 + 2006) / 2]]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_has_genres_and_years_in_the_order_of_the_ratings(tmp_path, name, packed):
    data = written(tmp_path / "data", name)
    if packed:
        with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
            for path in data.iterdir():
                archive.write(path, f"ml/{path.name}")
        data = tmp_path / "ml.zip"
    features = load_movie_features(data)
    assert features.names == ("Comedy", "Drama", "year")
    np.testing.assert_array_equal(features.values, EXPECTED)
    assert features.num_missing == 3


def test_what_was_read_is_kept_until_the_data_change(tmp_path, monkeypatch):
    data = written(tmp_path / "data", "csv")
    first = load_movie_features(data)
    with monkeypatch.context() as patched:
        patched.setattr("dts_gym.datasets.movie_features.load_ratings", None)  # must not be called
        again = load_movie_features(data)
    np.testing.assert_array_equal(again.values, first.values)
    assert (again.names, again.num_missing) == (first.names, first.num_missing)
    (kept,) = (tmp_path / "cache" / "movie_features").glob("*.npz")
    kept.write_bytes(kept.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="the cached features are read anew"):
        np.testing.assert_array_equal(load_movie_features(data).values, first.values)
    (data / "movies.csv").write_text(CSV.replace("Comedy|Drama", "Comedy"))
    assert load_movie_features(data).names == ("Comedy", "year")


def test_without_the_file_the_error_names_it(tmp_path):
    data = written(tmp_path / "data", "item")
    (data / "u.item").unlink()
    for given in (data, data / "u.data"):
        with pytest.raises(
            ValueError, match=r"movie_features needs u\.item beside u\.data, with .* \(in '.*u\.data'\)"
        ):
            load_movie_features(given)
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        archive.write(data / "u.data", "ml/u.data")
        archive.writestr("other/u.item", ITEM)
    with pytest.raises(ValueError, match=r"movie_features needs u\.item beside u\.data"):
        load_movie_features(tmp_path / "ml.zip")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("csv", "id,name\n1,x\n", "the header 'movieId,title,genres', got"),
        ("csv", "movieId,title,genres\nseven,A (1990),Drama\n", "lines of id, title and genres, got"),
        ("csv", "movieId,title,genres\n2,A (1990)\n", "lines of id, title and genres, got"),
        ("dat", "2::A (1990)\n", "lines of id, title and genres, got"),
        ("item", "2|A (1990)|||there|0|1\n", "lines of id, title and genres, got"),
        ("item", f"2|A (1990)|||there|{flags()[:-1]}7\n", "lines of id, title and genres, got"),
        ("csv", "movieId,title,genres\n2,A,Drama\n", "genres and years of the movies that are rated, got none"),
        ("csv", "movieId,title,genres\n4,A (1990),Drama\n", "genres and years of the movies that are rated, got none"),
    ],
)
def test_what_is_no_file_of_movies_is_refused(tmp_path, name, text, message):
    data = written(tmp_path / "data", name)
    (data / FORMATS[name][3]).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_movie_features(data)


TITLES = {
    "csv": ('Cité, La: "été" (Stadt, Die) (1995)', "A Play", "Série – Zwei (2006–2009)", "movie 9"),
    "dat": ("Cité :: La (1995)", "A Play", "Série (2006-)", "movie 9"),
    "item": ("Cité, La (1995)", "A Play", "unknown (2006)", "movie 9"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_titles_come_with_the_features_from_file_and_cache(name, tmp_path):
    folder = written(tmp_path / "data", name)
    expected = TITLES[{"crlf": "item"}.get(name, name.split("-")[0])]
    assert load_movie_features(folder).titles == load_movie_features(folder).titles == expected


def test_titles_of_several_movies_have_their_numbers(tmp_path):
    folder = written(tmp_path / "data", "csv")
    (folder / "movies.csv").write_text(CSV.replace("A Play", "Unrated (1900)").replace("4,Unrated", "9,Unrated"))
    assert load_movie_features(folder).titles[1::2] == ("Unrated (1900) [5]", "Unrated (1900) [9]")
