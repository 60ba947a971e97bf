"""Stamps wheels and source archives with the commit that they are built from; all else stands in pyproject.toml.

The stamp is written where the build puts its copies, never into the checkout. An editable install has none: git knows.
"""

import json
import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

_PACKAGE = Path(__file__).resolve().parent / "dts_gym"
_CODE_STATE = runpy.run_path(str(_PACKAGE / "harness" / "code_state.py"))


def _stamp(package: Path) -> None:
    """Write what git, or the stamp of the source archive that is built, says of this code."""
    known = _CODE_STATE["commit_of"](_PACKAGE)
    if known["commit"]:
        (package / _CODE_STATE["STAMP"]).write_text(json.dumps(known) + "\n")


class StampedBuild(build_py):
    """Copies the package into a wheel."""

    def run(self) -> None:
        """Copy, then stamp the copy."""
        super().run()
        if not self.editable_mode:
            _stamp(Path(self.build_lib) / "dts_gym")


class StampedArchive(sdist):
    """Copies the sources into an archive, from which a wheel may be built where git knows nothing."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy, then stamp the copy."""
        super().make_release_tree(base_dir, files)
        _stamp(Path(base_dir) / "dts_gym")


setup(cmdclass={"build_py": StampedBuild, "sdist": StampedArchive})
