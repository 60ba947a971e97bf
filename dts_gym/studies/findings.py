"""Writes the results of an experiment into a folder: table, verdicts, numbers, figure, and a description."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dts_gym.harness.code_state import code_state
from dts_gym.harness.provenance import versions
from dts_gym.harness.records import write_json
from dts_gym.studies.study import FORMAT, Ask, Findings, Study, Verdict, verdict_notes, verdict_rows
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.tables import csv_text, layout

TOO_SMALL = "Too few rounds and seeds for verdicts: --profile paper runs what the claims are about."
_SIZES = {"num_actions": "K", "dim": "d", "depth": "L"}


def write_findings(folder: Path, study: Study, ask: Ask, findings: Findings) -> str:
    """Write the results of an experiment, each file completely or not at all; returns the text."""
    part = f"-{ask.only}" if ask.only else ""
    # The path of data does not matter: only their name is kept.
    settings = study.settings(replace(ask, data=None if ask.data is None else Path(ask.data).name))
    small = "" if ask.profile == "paper" else f"{TOO_SMALL}\n"
    head = f"Run with profile {ask.profile}: {settings_text(settings)}.\n{small}Profile paper: {study.description}\n"
    text = f"{head}\n{findings.table()}\n{verdict_text(study, findings.verdicts)}"
    texts = {
        f"outcome{part}.csv": findings.numbers,
        f"verdicts{part}.csv": csv_text(Verdict._fields, findings.verdicts),
        f"outcome{part}.txt": text,
    }
    for file_name, content in texts.items():
        write_atomically(folder / file_name, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]
    findings.draw(folder / f"outcome{part}.png")
    words = ["dts-gym", "reproduce", study.id, "--profile", ask.profile]
    words += [] if ask.seeds is None else ["--seeds", str(ask.seeds)]
    words += ["--only", ask.only] if ask.only else []
    words += [] if ask.data is None else ["--data", "PATH"]
    described = {
        "format": FORMAT,
        "id": study.id,
        "claim": study.claim,
        "description": study.description,
        "command": " ".join(words),
        "ask": {name: value for name, value in asdict(ask).items() if name != "data"},
        "versions": versions(),
        "states": [dict(state) for state in findings.states] or [code_state()],
        "settings": settings,
        "table": findings.rows,
        "notes": findings.notes,
    }
    write_json(folder / f"study{part}.json", described)
    return f"{text}\n{folder}: {', '.join(texts)}, outcome{part}.png, study{part}.json, and every run"


def verdict_text(study: Study, verdicts: tuple[Verdict, ...]) -> str:
    """The text of an experiment's claims, with the verdicts on each."""
    parts = [f"{study.id}: {study.claim}\n"]
    for claim in dict.fromkeys(verdict.claim for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.claim == claim]
        parts.append(f"  {claim}\n")
        parts += [f"    {line}\n" for line in layout(verdict_rows(own), "text", left=3).splitlines()]
        parts += [f"    {note}\n" for note in verdict_notes(own)]
        parts += [f"    Where it fails: {cause}.\n" for cause in dict.fromkeys(v.cause for v in own) if cause]
    return "".join(parts)


def settings_text(settings: Mapping[str, Any]) -> str:
    """What was run, in a line, from the settings that `Study.settings` gives or a file holds.

    Examples
    --------
    >>> cell = {"num_rounds": 100, "seeds": 3, "grid": (1.0, 0.5), "tuning_seeds": 2, "env_settings": {"dim": 5}}
    >>> settings_text({"small": cell, "large": {**cell, "seeds": 5, "env_settings": {"dim": 20}}})
    '2 comparisons, 100 rounds, 3 to 5 runs an agent, tuned on 2 other runs a scale, d=5 to 20'
    >>> settings_text({"problems": ["linear", "bernoulli"], "draws": 100})
    'problems: linear, bernoulli; draws: 100'
    """
    cells = [cell for cell in settings.values() if isinstance(cell, Mapping) and "num_rounds" in cell]
    if not cells:
        return "; ".join(f"{name.replace('_', ' ')}: {_listed(value)}" for name, value in settings.items())
    parts = [f"{len(cells)} comparison{'s' if len(cells) > 1 else ''}"]
    parts += [f"{_span(cell['num_rounds'] for cell in cells)} rounds"]
    parts += [f"{_span(cell['seeds'] for cell in cells)} runs an agent"]
    if tuned := [cell["tuning_seeds"] for cell in cells if cell["grid"]]:
        parts.append(f"tuned on {_span(tuned)} other runs a scale")
    for name, symbol in _SIZES.items():
        if sizes := [cell["env_settings"][name] for cell in cells if name in cell["env_settings"]]:
            parts.append(f"{symbol}={_span(sizes)}")
    return ", ".join(parts)


def _span(values: Iterable[int]) -> str:
    """The least and the largest of some numbers; one where all are the same."""
    ordered = sorted(set(values))
    return f"{ordered[0]}" if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _listed(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return str(value)
    if len(value) > 10:
        return f"{len(value)} of them"
    return ", ".join(" x ".join(map(str, item)) if isinstance(item, list | tuple) else str(item) for item in value)
