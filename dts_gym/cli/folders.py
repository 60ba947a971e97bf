"""Where the results of a command go, and how an interrupted command is resumed from them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Interrupted(KeyboardInterrupt):
    """A command that was interrupted and can be resumed.

    Parameters
    ----------
    options : the options that the command line needs in addition to resume, each with its value.
    """

    def __init__(self, options: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self._options = options

    def command(self, arguments: Sequence[str]) -> str:
        """The command that resumes: the arguments that were given, with the options that these lack.

        Examples
        --------
        >>> Interrupted([("--out", "results/a b"), ("--resume",)]).command(["run", "--seeds=3"])
        "dts-gym run --seeds=3 --out 'results/a b' --resume"
        """
        given = {argument.partition("=")[0] for argument in arguments}
        more = [word for option in self._options if option[0] not in given for word in option]
        return shlex.join(["dts-gym", *arguments, *more])


@contextmanager
def resumable(*options: Sequence[str]) -> Iterator[None]:
    """Raise `Interrupted` in place of KeyboardInterrupt within the ``with`` block."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(options) from None


def results_folder(out: Path | None, resume: bool, name: str) -> Path:
    """The folder of ``--out``; without it, a new folder under results/, named after ``name``.

    Raises
    ------
    ValueError
        If a run is to be resumed and no folder is given.
    """
    if out is not None:
        return out
    if resume:
        raise ValueError("--resume needs --out, the folder of the records to go on with")
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    number = 1
    while (path := Path("results") / (plain if number == 1 else f"{plain}-{number}")).exists():
        number += 1
    return path
