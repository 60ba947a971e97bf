"""``dts-gym report``: everything that experiments found, as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from dts_gym.studies import study_ids
from dts_gym.studies.study import FORMAT, Verdict, verdict_notes, verdict_rows

_MARKS = {"holds": "yes", "does not hold": "no", "undecided": "open"}
_STYLE = """
:root { color-scheme: light; --line: #d8dbe0; --soft: #f5f6f8; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f24; margin: 0 auto; max-width: 62rem; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .5rem 0; } img { display: block; max-width: 100%; height: auto; margin: 1rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } .number { text-align: right; white-space: nowrap; }
code, pre { font: .85rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; } pre { white-space: pre-wrap; }
code { background: var(--soft); padding: .1rem .3rem; } summary { cursor: pointer; margin: .5rem 0; }
.mark { display: inline-block; padding: 0 .5rem; border-radius: .75rem; white-space: nowrap; font-weight: 600; }
.yes { background: #d5efe6; color: #00543c; } .no { background: #fbe0cd; color: #7c3600; }
.open { background: #e8eaee; color: #3c434d; }
@media (max-width: 40rem) { .claim { display: none; } .wide img { width: 46rem; max-width: none; } }
""".strip()


class Section(NamedTuple):
    """What one experiment left in its folder."""

    described: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    numbers: bytes
    figure: bytes


def read_sections(folder: Path) -> list[Section]:
    """The experiments of a folder, in the order of `study_ids`.

    Raises
    ------
    ValueError
        If the folder holds none, or a file of one is missing or damaged.
    """
    found = [*folder.glob("study*.json"), *folder.glob("*/study*.json")] if folder.is_dir() else []
    if not found:
        raise ValueError(f"folder must hold what dts-gym reproduce wrote, got no study.json in {str(folder)!r}")
    order = {name: place for place, name in enumerate(study_ids())}
    sections = [_read(path) for path in sorted(found)]
    return sorted(sections, key=lambda section: order.get(section.described["id"], len(order)))


def _read(path: Path) -> Section:
    part = path.stem.removeprefix("study")
    try:
        described = json.loads(path.read_bytes())
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']!r}")
        with (path.parent / f"verdicts{part}.csv").open(newline="") as file:
            verdicts = tuple(
                Verdict(**{k: float(v) if k in ("value", "low", "high") else v for k, v in row.items()})  # type: ignore[arg-type]
                for row in csv.DictReader(file)
            )
        numbers, figure = ((path.parent / f"outcome{part}{end}").read_bytes() for end in (".csv", ".png"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} and the files beside it must be what dts-gym wrote: {error}") from error
    return Section(described, verdicts, numbers, figure)


def report_page(sections: Sequence[Section]) -> str:
    """The page's HTML: verdicts first, then a section an experiment with figure, tables, settings and versions."""
    body = ["<h1>Diffusion Models Meet Contextual Bandits: what reproduces</h1>"]
    body.append(
        "<p>Every claim of the deck held against what was measured. A verdict follows its 95 % interval alone.</p>"
    )
    rows = []
    for place, section in enumerate(sections):
        counts = [sum(verdict.answer == answer for verdict in section.verdicts) for answer in _MARKS]
        link = f'<a href="#s{place}">{escape(section.described["id"])}</a>'
        marks = "".join(f'<td class="number">{count}</td>' for count in counts)
        claim = escape(section.described["claim"])
        rows.append(f'<tr><td>{link}</td><td class="claim">{claim}</td>{marks}</tr>')
    head = '<th>experiment</th><th class="claim">claim</th>' + "".join(f"<th>{name}</th>" for name in _MARKS)
    body.append(f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>')
    body += [_section(place, section) for place, section in enumerate(sections)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>dts_gym: what reproduces</title>\n"
        f"<style>\n{_STYLE}\n</style>\n</head>\n<body>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def _section(place: int, section: Section) -> str:
    described = section.described
    parts = [
        f'<h2 id="s{place}">{escape(described["id"])}</h2>',
        f"<p><strong>{escape(described['claim'])}</strong></p>",
    ]
    parts += [f"<p>{escape(described['description'])}</p>", f"<p><code>{escape(described['command'])}</code></p>"]
    image = base64.b64encode(section.figure).decode()
    alt = f"Figure of {escape(described['id'])}"
    parts.append(f'<div class="wide"><img alt="{alt}" src="data:image/png;base64,{image}"></div>')
    for claim in dict.fromkeys(verdict.claim for verdict in section.verdicts):
        own = [verdict for verdict in section.verdicts if verdict.claim == claim]
        parts.append(f"<h3>{escape(claim)}</h3>")
        parts.append(_table(verdict_rows(own), {answer: mark for answer, mark in _MARKS.items()}))
        if notes := verdict_notes(own):
            parts.append(f"<p>{'<br>'.join(map(escape, notes))}</p>")
        causes = dict.fromkeys(verdict.cause for verdict in own if verdict.cause)
        parts += [f"<p>Where it fails: {escape(cause)}.</p>" for cause in causes]
    table = f"{_table(described['table'])}<p>{'<br>'.join(map(escape, described['notes'].splitlines()))}</p>"
    parts.append(
        f"<details><summary>All numbers</summary>{table}{_download(described['id'], section.numbers)}</details>"
    )
    settings = escape(json.dumps(described["settings"], indent=1))
    versions = escape(", ".join(f"{name} {version}" for name, version in described["versions"].items()))
    parts.append(
        f"<details><summary>Settings, seeds, versions</summary><p>{versions}</p><pre>{settings}</pre></details>"
    )
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[str]], marks: dict[str, str] | None = None) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    lines = []
    for row in rows[1:]:
        cells = []
        for i, cell in enumerate(row):
            text = escape(cell)
            if marks and cell in marks:
                text = f'<span class="mark {marks[cell]}">{text}</span>'
            cells.append(f"<td{' class=number' if i >= 2 and not (marks and cell in marks) else ''}>{text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _download(name: str, numbers: bytes) -> str:
    data = base64.b64encode(numbers).decode()
    return f'<p><a download="{escape(name)}.csv" href="data:text/csv;base64,{data}">All digits, CSV</a></p>'
