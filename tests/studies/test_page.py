"""The page of all results: whole, self-contained, and what the files say."""

import base64
import csv
import json
import re
from html.parser import HTMLParser

import pytest

from dts_gym.cli.entry import main
from dts_gym.studies.page import read_sections


class Page(HTMLParser):
    """Tags that are open at the end, sources of other files, the page's text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    for name in ("swiss-roll", "scaling"):
        assert main(["reproduce", name, "--seeds", "2", "--out", str(root / name), "--no-progress"]) == 0
    return root


def test_the_page_needs_no_other_file_and_holds_every_verdict(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert "report.html: scaling, swiss-roll" in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(source.startswith(("data:", "#s")) for source in page.sources)
    assert "http" not in text
    assert 'name="viewport" content="width=device-width' in text
    figures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    written = [(folder / name / "outcome.png").read_bytes() for name in ("scaling", "swiss-roll")]
    assert [base64.b64decode(figure) for figure in figures] == written
    rows = [row for n in ("scaling", "swiss-roll") for row in csv.DictReader((folder / n / "verdicts.csv").open())]
    assert text.count('class="mark') == len(rows) > 5
    words = " ".join(page.words)
    for row in rows:
        assert row["contrast"] in words
        assert row["claim"] in words
    described = json.loads((folder / "scaling" / "study.json").read_text())
    assert described["command"] in words
    assert f"numpy {described['versions']['numpy']}" in words


def test_what_is_missing_or_damaged_is_named(folder, tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "folder must hold what dts-gym reproduce wrote" in capsys.readouterr().err
    for name in ("study.json", "verdicts.csv", "outcome.csv", "outcome.png"):
        (tmp_path / name).write_bytes((folder / "scaling" / name).read_bytes())
    (section,) = read_sections(tmp_path)
    assert section.described["id"] == "scaling"
    whole = (tmp_path / "study.json").read_text()
    for damaged in (whole[:-9], whole.replace('"format": 1', '"format": 9')):
        (tmp_path / "study.json").write_text(damaged)
        with pytest.raises(ValueError, match="must be what dts-gym wrote"):
            read_sections(tmp_path)
    (tmp_path / "study.json").write_text(whole)
    (tmp_path / "outcome.png").unlink()
    with pytest.raises(ValueError, match=r"outcome\.png"):
        read_sections(tmp_path)
