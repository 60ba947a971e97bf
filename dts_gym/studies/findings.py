"""What an experiment found, written into a folder: table, verdicts, numbers, figure, and a description of it all."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from dts_gym.harness.provenance import versions
from dts_gym.harness.records import write_json
from dts_gym.studies.study import FORMAT, Ask, Findings, Study, Verdict, verdict_notes, verdict_rows
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.tables import csv_text, layout


def write_findings(folder: Path, study: Study, ask: Ask, findings: Findings) -> str:
    """Write what an experiment found, each file whole or not at all; returns the text."""
    part = f"-{ask.only}" if ask.only else ""
    text = f"{study.description}\n\n{findings.table()}\n{verdict_text(study, findings.verdicts)}"
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
        # Where data lie is of no matter: their name stays.
        "settings": study.settings(replace(ask, data=None if ask.data is None else Path(ask.data).name)),
        "table": findings.rows,
        "notes": findings.notes,
    }
    write_json(folder / f"study{part}.json", described)
    return f"{text}\n{folder}: {', '.join(texts)}, outcome{part}.png, study{part}.json, and every run"


def verdict_text(study: Study, verdicts: tuple[Verdict, ...]) -> str:
    """The claims of an experiment with the verdicts on each."""
    parts = [f"{study.id}: {study.claim}\n"]
    for claim in dict.fromkeys(verdict.claim for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.claim == claim]
        parts.append(f"  {claim}\n")
        parts += [f"    {line}\n" for line in layout(verdict_rows(own), "text", left=2).splitlines()]
        parts += [f"    {note}\n" for note in verdict_notes(own)]
        parts += [f"    Where it fails: {cause}.\n" for cause in dict.fromkeys(v.cause for v in own) if cause]
    return "".join(parts)
