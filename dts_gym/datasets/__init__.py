"""Real ratings, and shapes to draw parameters from.

Read `movielens` (ratings from any release's files; `download` fetches one), `movie_features` (genres and years),
`factorisation` (vectors of users and movies), `shapes`.
"""

from dts_gym.datasets.download import RELEASES, cache_folder, fetch_release
from dts_gym.datasets.factorisation import Factors, cached_factors, factorise
from dts_gym.datasets.movie_features import MovieFeatures, load_movie_features
from dts_gym.datasets.movielens import Ratings, load_ratings
from dts_gym.datasets.shapes import Shape, sample_shape, shape_dim

__all__ = [
    "RELEASES",
    "Factors",
    "MovieFeatures",
    "Ratings",
    "Shape",
    "cache_folder",
    "cached_factors",
    "factorise",
    "fetch_release",
    "load_movie_features",
    "load_ratings",
    "sample_shape",
    "shape_dim",
]
