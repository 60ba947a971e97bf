"""The page of all results: complete, self-contained, and equal to the files."""

import base64
import csv
import json
import re
from html.parser import HTMLParser

import pytest

from dts_gym.cli.entry import main
from dts_gym.studies.page import read_sections, report_page, summary_text
from dts_gym.studies.study import Verdict


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
    assert len(re.findall('<td[^>]*><span class="mark', text)) == len(rows) > 5
    words = " ".join(page.words)
    for row in rows:
        assert row["contrast"] in words
        assert row["claim"] in words
    described = json.loads((folder / "scaling" / "study.json").read_text())
    assert described["command"] in words
    assert f"numpy {described['versions']['numpy']}" in words


def test_a_quick_look_is_no_verdict_and_says_what_was_run(folder, capsys):
    assert main(["report", str(folder)]) == 0
    text = (folder / "report.html").read_text()
    words = " ".join(Page(text).words)
    summary = re.search(r'<p class="summary"><strong>(.*?)</strong>', text)[1]
    assert re.fullmatch(r"No verdicts: \d+ contrasts of 2 experiments are not judged\.", summary)
    assert summary.rstrip(".") in capsys.readouterr().out
    assert text.index('class="summary"') < text.index('class="banner"') < text.index("<table>")
    assert "All experiments were run as a quick look" in words
    assert "scaling, swiss-roll" in words
    assert 'class="mark no"' not in text
    assert 'class="mark yes"' not in text
    for ran in ("6 comparisons, 200 rounds, 2 runs an agent", "1 comparison, 50 rounds, 2 runs an agent, tuned on 2"):
        assert words.count(ran) == 2  # in the list and in the section
    described = json.loads((folder / "scaling" / "study.json").read_text())
    assert f"Profile paper: {described['description']}" in words
    outcome = (folder / "scaling" / "outcome.txt").read_text()
    assert outcome.startswith("Run with profile quick: 6 comparisons, 200 rounds, 2 runs an agent")
    assert "Too few rounds and seeds for verdicts" in outcome
    assert {row["answer"] for row in csv.DictReader((folder / "scaling" / "verdicts.csv").open())} == {"not judged"}


def section_of(folder, root, profile, answers, **changes):
    """A folder as another profile would have left it, with these answers in its verdicts."""
    root.mkdir()
    described = json.loads((folder / "scaling" / "study.json").read_text())
    described["ask"]["profile"] = profile
    (root / "study.json").write_text(json.dumps({**described, **changes}))
    with (root / "verdicts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(Verdict._fields)
        rows.writerows(("<b>claim", "<b>K", "<b>", -2.0, -3.0, -1.0, answer, "<b>why", "<b>note") for answer in answers)
    for name in ("outcome.csv", "outcome.png"):
        (root / name).write_bytes((folder / "scaling" / name).read_bytes())


def test_the_papers_profile_is_judged_and_a_quick_look_beside_it_is_not(folder, tmp_path):
    section_of(folder, tmp_path / "a", "paper", ["holds", "does not hold", "does not hold", "undecided"])
    section_of(folder, tmp_path / "b", "quick", ["does not hold"], id="old")  # as it was written once
    sections = read_sections(tmp_path)
    assert summary_text(sections[:1]) == "1 hold, 2 do not hold, 1 undecided: 4 verdicts of 1 experiment"
    assert summary_text(sections).endswith("4 verdicts of 2 experiments; 1 contrasts are not judged")
    text = report_page(sections)
    assert "These experiments were run as a quick look" in text
    assert "not judged: old." in text
    assert re.findall('<td[^>]*><span class="mark (\\w+)">', text) == ["yes", "no", "no", "open", "open"]
    assert text.count("Where it fails: &lt;b&gt;why.") == 1
    assert "banner" not in report_page(sections[:1]).split("</style>")[1]


def test_what_users_wrote_is_text_on_the_page(folder, tmp_path):
    wild = '<script>alert("x")</script>'
    changes = {name: wild for name in ("id", "claim", "description", "command", "notes")}
    section_of(folder, tmp_path / "a", "paper", ["holds"], table=[[wild], [wild]], settings={wild: wild}, **changes)
    text = report_page(read_sections(tmp_path))
    assert "<script" not in text
    assert "<b>" not in text
    assert Page(text).open == []


@pytest.mark.parametrize(
    "changes",
    [
        {"table": [["a", "b"], ["c"]]},
        {"table": []},
        {"table": [[1]]},
        {"settings": {"cell": {"num_rounds": 3}}},
        {"settings": []},
        {"ask": {}},
        {"id": None},
    ],
)
def test_a_damaged_description_is_refused_in_one_line(folder, tmp_path, changes, capsys):
    section_of(folder, tmp_path / "a", "paper", ["holds"], **changes)
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "study.json" in error
    assert error.count("\n") == 1


def test_deep_nesting_is_refused_in_one_line(folder, tmp_path, capsys):
    section_of(folder, tmp_path / "a", "paper", ["holds"])
    (tmp_path / "a" / "study.json").write_text("[" * 100_000)
    assert main(["report", str(tmp_path)]) == 2
    assert "study.json" in capsys.readouterr().err


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
