"""Fits the README and the project's addresses to the place that a release is made from; used by the release workflow.

A package index shows the README without the repository around it, so links and pictures must be whole addresses, and
the index lists the project's addresses only where ``pyproject.toml`` has them. The repository's address comes from the
environment of the workflow, GITHUB_SERVER_URL and GITHUB_REPOSITORY; GITHUB_REF_NAME is the tag that links lead to.

Usage: python .ci/release_pages.py [FOLDER], a checkout that is changed in place and then built.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

PICTURES = (".svg", ".png", ".gif", ".jpg", ".jpeg")
_LINK = re.compile(r'(?P<before>\]\(|\b(?:src|href)=")(?P<target>[^)"\s]+)(?=[)"])')
_FENCED = re.compile(r"^```.*?^```|^ {4}.*?$", flags=re.DOTALL | re.MULTILINE)


def repository(environment: Mapping[str, str]) -> tuple[str, str]:
    """The repository's address and the tag, from the environment of a workflow.

    Raises
    ------
    ValueError
        If one of the variables is missing or does not look as it should.
    """
    expected = {
        "GITHUB_SERVER_URL": r"https://[\w.-]+",
        "GITHUB_REPOSITORY": r"[\w.-]+/[\w.-]+",
        "GITHUB_REF_NAME": r"[\w./-]+",
    }
    for name, pattern in expected.items():
        if not re.fullmatch(pattern, environment.get(name, "")):
            raise ValueError(f"{name} must match {pattern}, got {environment.get(name)!r}")
    return f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}", environment["GITHUB_REF_NAME"]


def absolute_links(readme: str, address: str, tag: str, root: Path) -> str:
    """The README with whole addresses: of files for links, of their content for pictures.

    Raises
    ------
    ValueError
        If a link leads to no file of the checkout, or to a heading, whose name differs between indexes.
    """

    def whole(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"https?://|mailto:", target):
            return match[0]
        path, _, heading = target.partition("#")
        if not path or not (root / path).exists():
            raise ValueError(f"README.md must link to files of the repository, got {target!r}")
        if path.lower().endswith(PICTURES):
            # The parameter makes GitHub send an SVG as a picture.
            return f"{match['before']}{address}/raw/{tag}/{path}" + ("?sanitize=true" if path.endswith(".svg") else "")
        kind = "tree" if (root / path).is_dir() else "blob"
        return f"{match['before']}{address}/{kind}/{tag}/{path}" + (f"#{heading}" if heading else "")

    code = [match.span() for match in _FENCED.finditer(readme)]
    return _LINK.sub(
        lambda match: match[0] if any(start <= match.start() < end for start, end in code) else whole(match), readme
    )


def with_addresses(pyproject: str, address: str, tag: str) -> str:
    """``pyproject.toml`` with the project's addresses, which stand nowhere else.

    Raises
    ------
    ValueError
        If it has some already.
    """
    if "[project.urls]" in pyproject:
        raise ValueError("pyproject.toml must leave [project.urls] to the release, got a table of that name")
    urls = {
        "Homepage": address,
        "Documentation": f"{address}/tree/{tag}/docs",
        "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    head, section, rest = pyproject.partition("[project.scripts]\n")
    if not section:
        raise ValueError("pyproject.toml must have the table [project.scripts], before which the addresses are put")
    return f"{head}[project.urls]\n{lines}\n{section}{rest}"


def main(folder: Path) -> None:
    """Change README.md and pyproject.toml of a checkout."""
    address, tag = repository(os.environ)
    readme, pyproject = folder / "README.md", folder / "pyproject.toml"
    new_readme = absolute_links(readme.read_text(), address, tag, folder)
    new_pyproject = with_addresses(pyproject.read_text(), address, tag)
    readme.write_text(new_readme)
    pyproject.write_text(new_pyproject)
    print(f"README.md and pyproject.toml lead to {address} at {tag}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
