"""Real ratings: readers, downloads, factorisation."""

from dts_gym.datasets.download import RELEASES, cache_folder, fetch_release
from dts_gym.datasets.factorisation import Factors, cached_factors, factorise
from dts_gym.datasets.movielens import Ratings, load_ratings

__all__ = [
    "RELEASES",
    "Factors",
    "Ratings",
    "cache_folder",
    "cached_factors",
    "factorise",
    "fetch_release",
    "load_ratings",
]
