"""Downloads MovieLens releases from GroupLens into the user's cache."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

# MD5 of the zips, as GroupLens publishes them; ml-latest-small changes over time and has none.
RELEASES: dict[str, str | None] = {
    "ml-100k": "0e33842e24a9c977be4e0107933c0723",
    "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
    "ml-10m": "ce571fd55effeba0271552578f2648bd",
    "ml-20m": "cd245b17a1ae2cc31bb14903e1204af3",
    "ml-25m": "6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-latest-small": None,
}
BASE_URL = "https://files.grouplens.org/datasets/movielens/"
DATA_VARIABLE = "DTS_GYM_DATA"

_LICENCE = (
    "%s is data of GroupLens, University of Minnesota: free for research, not to be redistributed or used commercially "
    "without permission, to be acknowledged by citing Harper and Konstan (2015), "
    "https://doi.org/10.1145/2827872. The terms are in the README of the zip."
)


def cache_folder() -> Path:
    """The folder of downloads and factors: the one that ``DTS_GYM_DATA`` names, else the user's cache."""
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("dts_gym"))


def fetch_release(name: str, base_url: str = BASE_URL) -> Path:
    """Return the zip of a MovieLens release, downloaded once.

    Parameters
    ----------
    name : one of `RELEASES`.
    base_url : URL of the folder of the zips, with its last slash.

    Returns
    -------
    Path
        The zip in `cache_folder`; its MD5 has been checked where the release has one, else that it is a whole zip with
        ratings in it.

    Raises
    ------
    ValueError
        If the name is unknown, or the downloaded file is not the one published (it is not kept), or the file that is
        there is not whole (the message says which to delete).
    ConnectionError
        If the file is missing and cannot be downloaded; the message says where to get it and where to put it.

    Notes
    -----
    A log message names the licence when a release is downloaded.
    """
    if not isinstance(name, str) or name not in RELEASES:
        raise ValueError(f"data must be a release among {list(RELEASES)}, got {name!r:.200}")
    import pooch
    import requests

    folder, file, md5 = cache_folder(), f"{name}.zip", RELEASES[name]
    url = base_url + file
    if not (folder / file).exists():
        logging.getLogger("dts_gym").warning(_LICENCE, name)
    elif md5 is None and (fault := _fault(folder / file)) is not None:
        raise ValueError(
            f"{os.fspath(folder / file)!r} must be {name} as published, but {fault}: delete it, and it is "
            "downloaded again"
        )

    def download(url: str, output: str, of: Any) -> None:
        pooch.HTTPDownloader()(url, output, of)
        if md5 is None and (fault := _fault(Path(output))) is not None:  # pooch keeps what raises no error
            raise ValueError(f"{url} must be {name} as published, but {fault}: it is not kept, try again later")

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        known = None if md5 is None else f"md5:{md5}"
        return Path(pooch.retrieve(url, known_hash=known, fname=file, path=folder, downloader=download))
    except requests.RequestException as error:
        raise ConnectionError(
            f"{name} could not be downloaded from {url} ({type(error).__name__}). Get {file} there by other means, "
            f"then give its path as data= (on the command line --data or --env.data), or put it into {folder} (the "
            f"variable {DATA_VARIABLE} names another folder)"
        ) from error
    finally:
        logger.setLevel(level)


def _fault(path: Path) -> str | None:
    """What is wrong with a zip of ratings; None where it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()
            if torn is not None:
                return f"{torn!r} in it is damaged"
            if not any(name.rpartition("/")[2] == "ratings.csv" for name in archive.namelist()):
                return "there is no ratings.csv in it"
    except Exception as error:  # a damaged zip raises half a dozen types
        return f"it is no whole zip ({error})"
    return None
