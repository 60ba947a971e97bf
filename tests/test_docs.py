"""The site builds, its examples run, the commands that it names exist, and no id is without a page."""

import functools
import importlib
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import dts_gym
from dts_gym import registry
from dts_gym.cli import entry
from dts_gym.cli.setting_texts import setting_texts
from dts_gym.harness.agent_texts import parse_agent
from dts_gym.registry import agent_settings, env_creator
from dts_gym.studies import study_ids

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("results/*.md"), *DOCS.glob("intros/*.md")])
# What stands for a value of the reader's own; a path may be any word.
PLACEHOLDERS = {"K": "10", "N": "2", "LINK": "mlp", "SHAPE": "moons", "serial|processes|ray": "serial"}

# Modules that examples use, and the packages that these need besides.
EXTRAS = {
    "dts_gym.integrations.sb3": ("stable_baselines3",),
    "dts_gym.pretraining": ("torch",),
    "dts_gym.integrations.tensorboard": ("torch", "tensorboard"),
}

# Other tests register agents of their own.
AGENT_IDS = [name for name, home in registry._AGENTS.items() if str(home).startswith("dts_gym.agents.")]


def blocks(text):
    """Python blocks of a page, each padded to its own line numbers, so that a traceback shows the right line."""
    found = re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return ["\n" * (text[: match.start(1)].count("\n")) + match[1] for match in found]


def commands(text):
    """Lines of a page that call dts-gym, in blocks whether fenced or indented, with what continues them."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found = (re.match(r"(?: {4}|\$ )(?:\w+=\S+ )*(dts-gym .*)", line) for line in lines)
    return [match[1] for match in found if match]


def mentions(text):
    """Commands that the text of a page names, perhaps without all that they need."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(words.split()) for words in re.findall(r"`(?:\w+=\S+\s)?(dts-gym\s[^`]*)`", text)]


def listed(find):
    """What is found on the pages and in the README, with names for tests."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in [ROOT / "README.md", *PAGES]}
    return [pytest.param(each, id=f"{name}-{i}") for name, text in texts.items() for i, each in enumerate(find(text))]


CALLS, MENTIONS = listed(commands), listed(mentions)


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p.read_text())], ids=lambda path: path.stem)
def test_a_pages_examples_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_AGENTS", dict(registry._AGENTS))  # a page may register one
    namespace = {"__name__": "__main__"}
    for block in blocks(path.read_text()):
        for module in (module for module in EXTRAS if f"from {module} import" in block):
            for package in EXTRAS[module]:
                pytest.importorskip(package, reason=f"the rest of {path.name} needs {package}, which is not installed")
        exec(compile(block, str(path), "exec"), namespace)


def test_there_are_examples_and_commands():
    assert sum(len(blocks(path.read_text())) for path in PAGES) > 15
    assert len(CALLS) > 40
    assert len(MENTIONS) > 5


# Where the work of a command begins, if that is not its own function: what comes before reads more of the words.
WORK = {
    "run": "dts_gym.cli.run:compare",
    "tune": "dts_gym.cli.run:tune",
    "plot": "dts_gym.cli.run:load_records",
    "posterior-error": "dts_gym.cli.posterior_error:posterior_error",
}


class Parsed(Exception):
    """A command line was read to its end; nothing is run."""


def _stop(*args, **settings):
    raise Parsed(settings)


def parse(call, monkeypatch):
    """Read a command line as `dts-gym` does, up to where work would begin; its words."""
    name, *words = shlex.split(call, comments=True)
    assert name == "dts-gym"
    words = [PLACEHOLDERS.get(word, word) for word in words]
    module_name, _, function = WORK.get(words[0], entry.COMMANDS[words[0]].function).partition(":")
    module = importlib.import_module(module_name)
    monkeypatch.setattr(module, function, functools.wraps(getattr(module, function))(_stop))
    with pytest.raises(Parsed):
        entry.main(words)
    return words


@pytest.mark.parametrize("call", CALLS)
def test_a_command_of_the_pages_can_be_read(call, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        words = parse(call, monkeypatch)
    except SystemExit as error:
        raise AssertionError(f"{call}\n{capsys.readouterr().err}") from error
    if "--agents" in words:
        given = words[words.index("--agents") + 1 :]
        for text in given[: next((i for i, word in enumerate(given) if word.startswith("--")), None)]:
            agent = parse_agent(text)
            assert set(agent.settings) <= set(agent_settings(agent.id))
    if words[0] == "reproduce":
        assert words[1] in ("all", *study_ids())


@pytest.mark.parametrize("call", MENTIONS)
def test_a_command_that_is_named_exists(call, capsys):
    _, command, *words = shlex.split(call)
    with pytest.raises(SystemExit) as ended:
        entry.main([command, "--help"])
    assert ended.value.code == 0, call
    shown = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--") and not word.startswith("--env.")):
        assert option in shown, call


def test_targets_of_make_that_the_pages_name_are_there():
    makefile = (ROOT / "Makefile").read_text()
    named = {name for path in PAGES for name in re.findall(r"(?:^\$ |`)make ([a-z-]+)", path.read_text(), re.MULTILINE)}
    assert {"run", "test", "docs"} <= named
    for name in named:
        assert f"\n{name}:" in makefile


def test_figures_that_the_pages_show_are_there():
    shown = [(path, name) for path in PAGES for name in re.findall(r"!\[[^\]]*\]\((\S+?)\)", path.read_text())]
    assert len(shown) > 12
    assert [(path, name) for path, name in shown if not (path.parent / name).is_file()] == []


def test_tables_of_measurements_stand_with_a_command_and_a_commit():
    for path in DOCS.glob("results/*.md"):
        if path.name == "README.md":  # one page for all experiments, whose folders hold both
            continue
        for section in re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:]:
            title = f"{path.name}: {section.splitlines()[0]}"
            assert re.search(r"(?:dts-gym|python) ", section), title
            assert re.search(r"Measured at commits? [0-9a-f]{7}", section), title


def test_files_that_the_pages_name_are_there():
    named = {name for path in PAGES for name in re.findall(r"\b(?:examples|tests)/[\w/]+\.\w+", path.read_text())}
    assert {"examples/sweep.yaml", "examples/large_k.py"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.fixture
def pages(monkeypatch):
    pytest.importorskip("numpydoc", reason="the site needs the extra docs")
    monkeypatch.syspath_prepend(DOCS / "extensions")
    monkeypatch.setattr(registry, "_AGENTS", {name: registry._AGENTS[name] for name in AGENT_IDS})
    return importlib.import_module("registry_pages")


def test_every_registered_id_has_a_page_and_a_place_in_the_menu(pages, monkeypatch, tmp_path):
    dts_gym.register_agent("Mine", "dts_gym.agents.baselines:Random")
    stale = tmp_path / "agents" / "Gone.md"
    stale.parent.mkdir()
    stale.write_text("# Gone\n")
    pages.write_pages(tmp_path)
    for folder, ids in (("environments", dts_gym.env_ids()), ("agents", dts_gym.agent_ids())):
        table = (tmp_path / folder / "table.inc").read_text()
        assert {path.stem for path in (tmp_path / folder).glob("*.md")} == set(ids)
        for name in ids:
            assert (tmp_path / folder / f"{name}.md").read_text().startswith(f"# {name}\n")
            assert f"| [`{name}`]({folder}/{name}.md) |" in table
            assert f"\n{folder}/{name}\n" in table
    assert "| `Mine` |" not in (tmp_path / "agents" / "Mine.md").read_text()
    listed = (tmp_path / "experiments" / "table.inc").read_text()
    assert all(f"| `{name}` |" in listed for name in study_ids())


def test_references_of_modules_that_no_page_lists_are_removed(pages, tmp_path):
    (tmp_path / "api.md").write_text("```{eval-rst}\n.. autosummary::\n   :toctree: api\n\n   dts_gym.agents\n```\n")
    (tmp_path / "api").mkdir()
    for name in ("dts_gym.agents", "dts_gym.gone"):
        (tmp_path / "api" / f"{name}.rst").touch()
    pages.remove_old_references(tmp_path)
    assert [path.name for path in (tmp_path / "api").iterdir()] == ["dts_gym.agents.rst"]


def test_pages_that_stay_the_same_are_not_written_again(pages, tmp_path):
    pages.write_pages(tmp_path)
    page = tmp_path / "agents" / "dTS.md"
    times = page.stat().st_mtime_ns
    (tmp_path / "agents" / "LinTS.md").write_text("old")
    pages.write_pages(tmp_path)
    assert page.stat().st_mtime_ns == times
    assert (tmp_path / "agents" / "LinTS.md").read_text().startswith("# LinTS")


@pytest.mark.parametrize("name", [*AGENT_IDS, *dts_gym.env_ids()])
def test_every_id_is_introduced_in_plain_words(pages, name):
    page = pages.agent_page(name) if name in AGENT_IDS else pages.environment_page(name)
    text = pages.intro(name)
    assert len(text.split()) > 15
    assert (DOCS / "intros" / f"{name}.md").read_text() == f"# {name}\n\n{text}\n"
    assert text in page


def test_an_id_of_others_has_a_page_without_an_introduction(pages):
    assert pages.intro("Somebody's") == ""


@pytest.mark.parametrize("agent_id", AGENT_IDS)
def test_the_example_of_an_agents_page_acts(pages, agent_id, capsys):
    code = pages.example(agent_id)
    if "pretraining" in code:
        pytest.importorskip("torch", reason="the example trains a prior, which needs the extra torch")
    assert f"```python\n{code}\n```" in pages.agent_page(agent_id)
    exec(compile(code, agent_id, "exec"), {})
    assert re.fullmatch(r"regret after 200 rounds: [\d.]+\n", capsys.readouterr().out)


def test_formulas_of_environments_are_drawn(pages):
    used = set()
    for env_id in dts_gym.env_ids():
        doc = inspect.cleandoc(env_creator(env_id).__doc__)
        code = {" ".join(text.split()) for text in re.findall(r"``([^`]+)``", doc)}
        used |= code
        # What is left as code is a name, a value or a call: no arithmetic, no transposes.
        left = [text for text in code - set(pages.FORMULAS) if re.search(r"['^] |\^|theta|\* ", text)]
        assert left == []
    assert set(pages.FORMULAS) - used == set()
    page = pages.environment_page("DiffusionBandit-v0")
    assert r"$\mathcal{N}(x^\top \theta_a, \sigma^2)$" in page
    assert "``Discrete(num_actions)``" in page


@pytest.mark.parametrize("agent_id", AGENT_IDS)
def test_every_setting_of_an_agent_is_described(pages, agent_id):
    texts, settings = setting_texts(agent_id), agent_settings(agent_id)
    assert list(texts) == list(settings)
    page = pages.agent_page(agent_id)
    for name, text in texts.items():
        assert text
        assert not text.startswith("as `")
        assert f"| `{name}` | `{settings[name].default!r}` |" in page


def test_a_setting_that_no_docstring_describes_is_an_error(pages, monkeypatch):
    class Quiet(dts_gym.agents.Random):
        """Plays."""

        def __init__(self, problem, *, seed=None, volume=1.0):
            super().__init__(problem, seed=seed)

    monkeypatch.setattr(registry, "_AGENTS", {**registry._AGENTS, "Quiet": Quiet})
    with pytest.raises(ValueError, match="Quiet must describe its setting 'volume'"):
        pages.agent_page("Quiet")


@pytest.mark.parametrize("env_id", dts_gym.env_ids())
def test_an_environments_arguments_are_those_of_its_docstring(env_id):
    creator = env_creator(env_id)
    section = re.search(r"^## Arguments\n(.*?)^## ", inspect.cleandoc(creator.__doc__), re.DOTALL | re.MULTILINE)
    described = re.findall(r"^- ``(\w+)[=`]", section[1], re.MULTILINE)
    assert described == list(inspect.signature(creator).parameters)


def test_names_in_docstrings_of_environments_become_links(pages):
    page = pages.environment_page("SyntheticBandit-v0")
    assert "as in [`DiffusionBandit-v0`](DiffusionBandit-v0.md)" in page
    assert "{py:obj}`dts_gym.datasets.sample_shape`" in page
    assert "`past_parameters`" in page
    assert "--env.shape" in page


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["It is", "", "    a = b", "", "so."], ["It is", "", "::", "", "    a = b", "", "so."]),
        (["Notes", "-----", "As", "", "    a", "    b"], ["Notes", "-----", "As", "", "::", "", "    a", "    b"]),
        (["Parameters", "----------", "x : that", "", "    more"], None),
        (["Said::", "", "    a"], None),
        (["- one", "", "    more of it"], None),
    ],
)
def test_indented_formulas_of_docstrings_are_literal(pages, lines, expected):
    assert list(pages.with_literal_blocks(lines)) == (expected or lines)


def test_descriptions_of_parameters_that_are_wrapped_are_joined(pages):
    wrapped = ["out : " + "word " * 20 + "end", "    " + "more " * 21 + "end", "    last.", ""]
    typed = ["count : int or None", "    How many.", "", "    A paragraph of its own."]
    joined = list(pages.with_joined_items([*wrapped, *typed]))
    assert joined == ["out : " + "word " * 20 + "end " + "more " * 21 + "end last.", "", *typed]
    assert list(pages.with_joined_items(["x : a", "y : b"])) == ["x : a", "y : b"]


@pytest.fixture
def svg_math(monkeypatch):
    pytest.importorskip("ziamath", reason="the site needs the extra docs")
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    monkeypatch.syspath_prepend(DOCS / "extensions")
    return importlib.import_module("svg_math")


def test_a_formula_stands_on_the_line_of_the_text(svg_math):
    def style(latex, name):
        element = ElementTree.fromstring(svg_math.svg_of(latex, True))
        assert element.attrib["aria-label"] == latex
        return float(re.search(rf"{name}:(-?[\d.]+)em", element.attrib["style"])[1])

    assert style("x", "vertical-align") > -0.1  # next to nothing below the line
    assert style("x_a", "vertical-align") < style("x", "vertical-align") - 0.05
    assert style(r"\sum_a x_a", "width") > style("x", "width")
    assert "currentColor" in svg_math.svg_of("x", True)


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"x & y"])
def test_a_formula_with_an_unknown_command_is_refused(svg_math, latex):
    with pytest.raises(ValueError, match="known to latex2mathml"):
        svg_math.svg_of(latex, False)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("2859 ± 136 (0.5)", ["number"]),
        ("-151 (-207, -95)", ["number"]),
        ("0.05 / 0.00", ["number"]),
        ("dTS, 32 particles", []),
        ("10 000 vectors", []),
        ("-", ["word"]),
        ("num_particles", ["word"]),
        ("dts_gym.integrations.sb3:SB3", []),
        ("", []),
    ],
)
def test_cells_of_numbers_and_of_one_word_are_marked(monkeypatch, text, classes):
    pytest.importorskip("sphinx", reason="the site needs the extra docs")
    monkeypatch.syspath_prepend(DOCS / "extensions")
    nodes, utils = (importlib.import_module(f"docutils.{name}") for name in ("nodes", "utils"))
    document = utils.new_document("page")
    cell = nodes.entry("", nodes.paragraph("", text))
    document += cell
    importlib.import_module("number_cells").mark_numbers(None, document)
    assert cell["classes"] == classes


def build(source, target):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(source), str(target)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path):
    for package in ("sphinx", "furo", "numpydoc", "myst_parser", "ziamath"):
        pytest.importorskip(package, reason="the site needs the extra docs")
    source, target = tmp_path / "docs", tmp_path / "html"
    made = ("_build", "environments", "agents", "experiments", "api", "__pycache__")
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns(*made, "report.html"))
    done = build(source, target)
    assert done.returncode == 0, done.stderr
    for folder, ids in (("environments", dts_gym.env_ids()), ("agents", AGENT_IDS)):
        assert {path.stem for path in (target / folder).glob("*.html")} == set(ids)
    for page in target.rglob("*.html"):
        text = page.read_text()
        assert not re.search(r"<(script|img|iframe|link)\b[^>]*(src|href)=\"(https?:)?//", text), page
        assert "TypeAliasForwardRef" not in text, page
    assert (target / "model.html").read_text().count("<svg") > 100
    assert "not part of this build" in (target / "experiments.html").read_text()

    # Results that were put there join the site; what refers to nothing does not pass.
    (source / "results" / "notes.md").write_text("# Notes on results\n")
    (source / "results" / "report.html").write_text("<p>all verdicts</p>")
    (source / "experiments.md").touch()
    done = build(source, target)
    assert done.returncode == 0, done.stderr
    page = (target / "experiments.html").read_text()
    assert 'href="results/report.html"' in page
    assert 'href="results/notes.html"' in page
    assert (target / "results" / "report.html").read_text() == "<p>all verdicts</p>"

    with (source / "contributing.md").open("a") as file:
        file.write("\n[nowhere](measurements.md#nowhere) and {py:func}`dts_gym.nothing`\n")
    done = build(source, target)
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    assert "dts_gym.nothing" in done.stderr
