"""Print the requirements of every extra of pyproject.toml, one a line: what `make test-all` installs.

contextualbandits, of the extra `peers`, comes as source and is compiled by pip. Where that cannot be done it is left
out, and the tests skip it for that reason.
"""

import os
import shlex
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path

COMPILED = "contextualbandits"


def can_compile() -> bool:
    """Whether C++ extensions of this Python can be built here."""
    compilers = [os.environ.get(name) or sysconfig.get_config_var(name) or "" for name in ("CC", "CXX")]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return headers.is_file() and all(shutil.which((shlex.split(each) or [""])[0]) for each in compilers)


def requirements() -> list[str]:
    """Of all extras, each once."""
    project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
    return sorted({each for extra in project["optional-dependencies"].values() for each in extra})


if __name__ == "__main__":
    found = requirements()
    if not can_compile():
        print(f"{COMPILED} is left out: there is no C++ compiler, or no Python.h, to build it with", file=sys.stderr)
        found = [each for each in found if not each.startswith(COMPILED)]
    print("\n".join(found))
