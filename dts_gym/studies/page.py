"""``dts-gym report``: everything that experiments found, as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from dts_gym.harness.code_state import UNKNOWN, distinct, state_text
from dts_gym.studies import study_ids
from dts_gym.studies.findings import settings_text
from dts_gym.studies.study import FORMAT, Verdict, as_judged, verdict_notes, verdict_rows
from dts_gym.utils.tables import html_table
from dts_gym.utils.text_files import parse_json

# Answer -> class of its mark, and how some of them are counted.
_MARKS = {"holds": "yes", "does not hold": "no", "undecided": "open", "not judged": "open"}
_COUNTED = {"holds": "hold", "does not hold": "do not hold"}
_FIELDS = {"id": str, "claim": str, "description": str, "command": str, "notes": str, "ask": dict, "versions": dict,
           "settings": dict, "table": list}  # fmt: skip
_STYLE = """
:root { color-scheme: light; --line: #d8dbe0; --soft: #f5f6f8; --quiet: #5a626d; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1f24; margin: 0 auto; max-width: 62rem; padding: 1rem;
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 3rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .5rem 0; } img { display: block; max-width: 100%; height: auto; margin: 1rem 0; }
.summary { font-size: 1.15rem; } .quiet { color: var(--quiet); }
.banner { background: #fff4cf; border-left: .3rem solid #c79a00; padding: .6rem .9rem; margin: 1rem 0; }
.overview { list-style: none; margin: 1rem 0; padding: 0; }
.overview a { white-space: nowrap; }
.overview li { border-top: 1px solid var(--line); padding: .5rem 0; } .overview p { margin: .15rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } .number { text-align: right; white-space: nowrap; }
code, pre { font: .85rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; } pre { white-space: pre-wrap; }
code { background: var(--soft); padding: .1rem .3rem; } summary { cursor: pointer; margin: .5rem 0; }
.mark { display: inline-block; padding: 0 .5rem; border-radius: .75rem; white-space: nowrap; font-weight: 600;
  font-size: .85rem; }
.yes { background: #d5efe6; color: #00543c; } .no { background: #fbe0cd; color: #7c3600; }
.open { background: #e8eaee; color: #3c434d; }
@media (max-width: 44rem) {
  .wide img { width: 46rem; max-width: none; } thead { display: none; }
  table, tbody, tr, td { display: block; }
  td, td.number { border: 0; padding: 0; text-align: left; white-space: normal; }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0; } td:empty { display: none; }
  td::before { content: attr(data-label) ": "; color: var(--quiet); } td:has(.mark)::before { content: none; }
}
""".strip()


class Section(NamedTuple):
    """What one experiment left in its folder."""

    described: dict[str, Any]
    verdicts: tuple[Verdict, ...]
    numbers: bytes
    figure: bytes

    @property
    def is_small(self) -> bool:
        """Whether the profile was too small for verdicts."""
        return bool(self.described["ask"]["profile"] != "paper")


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
        described = parse_json(path.read_bytes())
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']!r}")
        for name, kind in _FIELDS.items():
            if not isinstance(described[name], kind):
                raise ValueError(f"{name} must be a {kind.__name__}, got {described[name]!r:.100}")
        described["states"] = _states(described)
        html_table(described["table"]), settings_text(described["settings"])  # refused here if they cannot be shown
        with (path.parent / f"verdicts{part}.csv").open(newline="") as file:
            verdicts = as_judged(
                [
                    Verdict(**{k: float(v) if k in ("value", "low", "high") else v for k, v in row.items()})  # type: ignore[arg-type]
                    for row in csv.DictReader(file)
                ],
                described["ask"]["profile"],
            )
        numbers, figure = ((path.parent / f"outcome{part}{end}").read_bytes() for end in (".csv", ".png"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} and the files beside it must be what dts-gym wrote: {error}") from error
    return Section(described, verdicts, numbers, figure)


def _states(described: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of the code that made an experiment's results; the unknown one where its file names none."""
    states = described.get("states", [UNKNOWN])
    if not isinstance(states, list) or not states or any(one.keys() != UNKNOWN.keys() for one in states):
        raise ValueError(f"states must each have the entries {[*UNKNOWN]}, got {states!r:.200}")
    return states


def states_warning(sections: Sequence[Section]) -> str | None:
    """What to say where results were made by several states of the code; None where all are of one."""
    states = distinct(state for section in sections for state in section.described["states"])
    if len(states) < 2:
        return None
    texts = {
        state_text(state): dict.fromkeys(
            section.described["id"] for section in sections if state in section.described["states"]
        )
        for state in states
    }
    listed = "; ".join(f"{text}: {', '.join(ids)}" for text, ids in texts.items())
    return f"results are of {len(states)} states of the code ({listed}); reproduce them by one to compare them"


def summary_text(sections: Sequence[Section]) -> str:
    """All verdicts in a line: how many hold, do not hold, are undecided or not judged."""
    counts: Counter[str] = Counter(verdict.answer for section in sections for verdict in section.verdicts)
    named = f"{len(sections)} experiment{'s' if len(sections) > 1 else ''}"
    unjudged = counts.pop("not judged", 0)
    if not counts:
        return f"No verdicts: {unjudged} contrasts of {named} are not judged"
    parts = [f"{counts[answer]} {_COUNTED.get(answer, answer)}" for answer in _MARKS if counts[answer]]
    rest = f"; {unjudged} contrasts are not judged" if unjudged else ""
    return f"{', '.join(parts)}: {counts.total()} verdicts of {named}{rest}"


def report_page(sections: Sequence[Section]) -> str:
    """The page's HTML: what holds in a line, the experiments in a list, then a section each.

    A section has its verdicts first, then figure, numbers, settings and versions.
    """
    body = ["<h1>Diffusion Models Meet Contextual Bandits: what reproduces</h1>"]
    body.append(f'<p class="summary"><strong>{escape(summary_text(sections))}.</strong></p>')
    body.append(
        "<p>Each claim of the deck is held against what was measured. A verdict follows its 95 % interval alone.</p>"
    )
    if small := [section.described["id"] for section in sections if section.is_small]:
        which = "These experiments were" if len(small) < len(sections) else "All experiments were"
        body.append(
            f'<p class="banner" role="note"><strong>Too small for verdicts.</strong> {which} run as a quick look, with '
            f"few rounds and seeds; their claims are not judged: {escape(', '.join(small))}. "
            "<code>dts-gym reproduce all --profile paper</code> runs what the claims are about.</p>"
        )
    items = "\n".join(_item(place, section) for place, section in enumerate(sections))
    body.append(f'<ul class="overview">\n{items}\n</ul>')
    body += [_section(place, section) for place, section in enumerate(sections)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>dts_gym: what reproduces</title>\n"
        f"<style>\n{_STYLE}\n</style>\n</head>\n<body>\n{chr(10).join(body)}\n</body>\n</html>\n"
    )


def _item(place: int, section: Section) -> str:
    described = section.described
    link = f'<a href="#s{place}">{escape(described["id"])}</a>'
    ran = escape(settings_text(described["settings"]))
    return f'<li>{_counts(section)} {link}<p>{escape(described["claim"])}</p><p class="quiet">Run: {ran}.</p></li>'


def _counts(section: Section) -> str:
    """How many verdicts of each kind an experiment has."""
    counts: Counter[str] = Counter(verdict.answer for verdict in section.verdicts)
    shown = ((counts[answer], _COUNTED.get(answer, answer) if counts[answer] > 1 else answer) for answer in _MARKS)
    kinds = zip(shown, _MARKS.values(), strict=True)
    return " ".join(f'<span class="mark {kind}">{count} {text}</span>' for (count, text), kind in kinds if count)


def _section(place: int, section: Section) -> str:
    described, profile = section.described, escape(str(section.described["ask"]["profile"]))
    parts = [
        f'<h2 id="s{place}">{escape(described["id"])}</h2>',
        f"<p>{_counts(section)}</p>",
        f"<p><strong>{escape(described['claim'])}</strong></p>",
        f"<p>Run with profile {profile}: {escape(settings_text(described['settings']))}.</p>",
    ]
    for claim in dict.fromkeys(verdict.claim for verdict in section.verdicts):
        own = [verdict for verdict in section.verdicts if verdict.claim == claim]
        parts += [f"<h3>{escape(claim)}</h3>", _wide(html_table(verdict_rows(own), 3, marks=_MARKS))]
        parts.append(_lines(verdict_notes(own)))
        causes = dict.fromkeys(verdict.cause for verdict in own if verdict.cause)
        parts += [f"<p>Where it fails: {escape(cause)}.</p>" for cause in causes]
    image = base64.b64encode(section.figure).decode()
    parts.append(_wide(f'<img alt="Figure of {escape(described["id"])}" src="data:image/png;base64,{image}">'))
    parts.append(f"<p>Profile paper: {escape(described['description'])}</p>")
    parts.append(f"<p>Command: <code>{escape(described['command'])}</code></p>")
    table = _wide(html_table(described["table"], 2)) + _lines(described["notes"].splitlines())
    parts.append(
        f"<details><summary>All numbers</summary>{table}{_download(described['id'], section.numbers)}</details>"
    )
    settings = escape(json.dumps(described["settings"], indent=1))
    versions = escape(", ".join(f"{name} {version}" for name, version in described["versions"].items()))
    versions += "; " + escape("; ".join(map(state_text, described["states"])))
    parts.append(
        f"<details><summary>Settings, seeds, versions</summary><p>{versions}</p><pre>{settings}</pre></details>"
    )
    return "\n".join(part for part in parts if part)


def _wide(content: str) -> str:
    """Content that scrolls by itself where the page is narrower."""
    return f'<div class="wide">{content}</div>'


def _lines(texts: Iterable[str]) -> str:
    """A paragraph of lines; nothing without any."""
    text = "<br>".join(map(escape, texts))
    return f"<p>{text}</p>" if text else ""


def _download(name: str, numbers: bytes) -> str:
    data = base64.b64encode(numbers).decode()
    return f'<p><a download="{escape(name)}.csv" href="data:text/csv;base64,{data}">All digits, CSV</a></p>'
