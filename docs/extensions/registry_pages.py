"""A page for every registered environment and agent, so that no id can be forgotten.

A page is what ``intros`` says of the id in plain words, then what the docstring says. Pages are written into the
folders ``environments`` and ``agents`` of the site's source when the build starts, each with ``table.inc``, which the
page of the same name includes; so are the lists in ``experiments``. Two hooks fit the
house style of docstrings to Sphinx.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpydoc.docscrape import NumpyDocString
from sphinx.util.inspect import TypeAliasForwardRef
from sphinx.util.nodes import make_refnode

import dts_gym
from dts_gym.cli.env_options import options_text
from dts_gym.cli.setting_texts import setting_texts
from dts_gym.registry import agent_class, agent_settings, env_creator
from dts_gym.studies import load_study, study_ids

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_SINGLE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_WIDTH = 96  # of a docstring's line, less what some were wrapped before
_HEADING = re.compile(r"^## (.*)$", flags=re.MULTILINE)
INTROS = Path(__file__).resolve().parents[1] / "intros"

# Formulas that docstrings of environments write as code, for a terminal, and how a page shows them.
FORMULAS = {
    "x": "x",
    "theta": r"\theta",
    "x' theta_a": r"x^\top \theta_a",
    "z_a": "z_a",
    "B": "B",
    "delta_a": r"\delta_a",
    "theta_a = B z_a + delta_a": r"\theta_a = B z_a + \delta_a",
    "feature_std^2 / p": r"\tau^2 / p",
    "phi(x, a)": r"\varphi(x, a)",
    "phi(x, a)' theta": r"\varphi(x, a)^\top \theta",
    "N(x' theta_a, noise_std^2)": r"\mathcal{N}(x^\top \theta_a, \sigma^2)",
    "N(phi(x, a)' theta, noise_std^2)": r"\mathcal{N}(\varphi(x, a)^\top \theta, \sigma^2)",
    "1 / (1 + exp(-x' theta_a))": r"1 / (1 + e^{-x^\top \theta_a})",
    "exp(x' theta_a)": r"e^{x^\top \theta_a}",
    "sigma_1 .. sigma_{L+1}": r"\sigma_1, \dots, \sigma_{L+1}",
    "Sigma_l = sigma_l^2 I": r"\Sigma_\ell = \sigma_\ell^2 I",
    "[v, v + 0.5]": "[v, v + 0.5]",
    "rating - mean = user' movie + noise": r"R_{um} - \bar R = x_u^\top \theta_m + \epsilon",
    "N(user' movie, noise_std^2)": r"\mathcal{N}(x_u^\top \theta_m, \sigma^2)",
    "sigmoid(user' movie pi / (sqrt(3) noise_std))": (
        r"1 / \left(1 + e^{-\pi x_u^\top \theta_m / (\sqrt{3} \sigma)}\right)"
    ),
}

# The bandit of an agent's example, where the usual one does not suit it.
_BANDITS = {
    "GLM-TS": 'env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3, reward="bernoulli")',
    "UCB-GLM": 'env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3, reward="bernoulli")',
    "JointTS": 'env = gym.make("DiffusionBandit-v0", num_actions=5, dim=2)',
    "meTS": """weights = np.random.default_rng(0).dirichlet(np.ones(2), 20)  # of two effects, for each of 20 actions
prior = dts_gym.MixedEffectPrior(weights, np.eye(6), 0.1 * np.eye(3))
env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3, prior=prior)""",
    "LaplaceDPS": """past = dts_gym.datasets.sample_shape("moons", np.random.default_rng(0), 1000)
prior = dts_gym.pretraining.fit(past, depth=5, max_steps=100)  # extra torch; a look: the defaults take longer
env = gym.make("SyntheticBandit-v0", shape="moons", num_actions=20, prior=prior)""",
}
_USUAL_BANDIT = 'env = gym.make("DiffusionBandit-v0", num_actions=20, dim=3)'


def write_pages(folder: Path) -> list[Path]:
    """Write all pages into a folder, files that stay the same untouched; pages of ids that are gone are removed."""
    pages = {f"environments/{env_id}.md": environment_page(env_id) for env_id in dts_gym.env_ids()}
    pages |= {f"agents/{agent_id}.md": agent_page(agent_id) for agent_id in dts_gym.agent_ids()}
    for name, ids, find in (
        ("environments", dts_gym.env_ids(), env_creator),
        ("agents", dts_gym.agent_ids(), agent_class),
    ):
        pages[f"{name}/table.inc"] = _table(name, [(each, _summary(find(each))) for each in ids])
    pages["experiments/table.inc"] = _experiments()
    pages["experiments/results.inc"] = _results(folder / "results")
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
    for name in ("environments", "agents", "experiments"):
        for path in (folder / name).iterdir():
            if f"{name}/{path.name}" not in pages:
                path.unlink()
    return [folder / name for name in pages]


def remove_old_references(folder: Path) -> None:
    """Remove pages that autosummary made for modules which no page lists any more."""
    listed = {
        name for path in folder.glob("*.md") for name in re.findall(r"^   ([\w.]+)$", path.read_text(), re.MULTILINE)
    }
    for path in (folder / "api").glob("*.rst"):
        if path.stem not in listed:
            path.unlink()


def environment_page(env_id: str) -> str:
    """The page of an environment, Markdown: its docstring is that already."""
    creator = env_creator(env_id)
    doc = _SINGLE.sub(lambda match: _reference(match[1]), inspect.cleandoc(creator.__doc__ or ""))
    doc = re.sub(r"``([^`]+)``", lambda match: _formula(match[1]), doc.partition("\n")[2].strip())
    options = "\n".join(line.strip() for line in options_text(env_id).splitlines())
    return f"""# {env_id}

{intro(env_id)}

{doc}

## Use

`gym.make("{env_id}")` after `import dts_gym`, or `gym.make("dts_gym:{env_id}")` without; N instances at once:
`gym.make_vec("{env_id}", num_envs=N)`. The class is {{py:class}}`{_home(creator)}`.

On the command line `dts-gym run --env {env_id}` takes, with their defaults:

```text
{options}
```
"""


def agent_page(agent_id: str) -> str:
    """The page of an agent: its introduction, an example, what its docstring says, and a table of its settings.

    Raises
    ------
    ValueError
        If no docstring describes one of them.
    """
    cls = agent_class(agent_id)
    doc = NumpyDocString(inspect.cleandoc(cls.__doc__ or ""))
    parts = ["\n".join(doc[part]) for part in ("Summary", "Extended Summary", "Notes")]
    # Where the settings are explained is of no matter here: the table has them all.
    parts[1] = re.sub(r"The parameters are those of `\w+`\. ?", "", parts[1])
    parts[1] = parts[1].replace("The parameters and the cost are those", "The cost is that")
    text = "\n\n".join(part for part in parts if part.strip())
    texts = setting_texts(agent_id)
    for name, described in texts.items():
        if described is None:
            raise ValueError(f"the docstring of {cls.__name__} must describe its setting {name!r}, got none")
    defaults = {name: repr(parameter.default) for name, parameter in agent_settings(agent_id).items()}
    rows = "\n".join(f"| `{name}` | `{defaults[name]}` | {_cell(texts[name] or '')} |" for name in texts)
    table = f"| setting | default | |\n|---|---|---|\n{rows}" if rows else "None."
    first = [f"{name}={default}" for name, default in defaults.items()][:1]
    given, line = "".join(f", {each}" for each in first), ":".join([agent_id, *first])
    return f"""# {agent_id}

{intro(agent_id)}

## An example

```python
{example(agent_id)}
```

## In detail

```{{eval-rst}}
.. py:currentmodule:: dts_gym.agents

{text}
```

## Settings

Words such as level, branch, particles and surrogate are in the [glossary](../glossary.md). K is the number of actions,
d the dimension of contexts, L the depth of the chain.

{table}

## Use

`dts_gym.make_agent("{agent_id}", env, seed=0{given})`; on the command line `--agents {line}`. The class is
{{py:class}}`{_home(cls)}`; what all agents share is {{py:class}}`dts_gym.agents.Agent`'s.
"""


def intro(name: str) -> str:
    """What ``intros`` says of an id, without its heading; nothing of ids that are not the package's own."""
    path = INTROS / f"{name}.md"
    return path.read_text().partition("\n")[2].strip() if path.is_file() else ""


def example(agent_id: str) -> str:
    """A loop in which the agent acts and learns, and what came of it."""
    bandit = _BANDITS.get(agent_id, _USUAL_BANDIT)
    numpy = "import numpy as np\n" if "np." in bandit else ""
    return f"""import gymnasium as gym
{numpy}import dts_gym

{bandit}
agent = dts_gym.make_agent("{agent_id}", env, seed=0)
context, info = env.reset(seed=0)
for _ in range(200):
    action = agent.act(context)
    following, reward, terminated, truncated, info = env.step(action)
    agent.update(context, action, reward)
    context = following
print("regret after 200 rounds:", round(info["cumulative_regret"], 1))"""


def _formula(code: str) -> str:
    """What stands in double backticks: a formula where it is one, else code."""
    return f"${FORMULAS[' '.join(code.split())]}$" if " ".join(code.split()) in FORMULAS else f"``{code}``"


def _table(folder: str, rows: Iterable[tuple[str, str]]) -> str:
    """Ids with their first lines, and the same as entries of the menu."""
    listed = list(rows)
    lines = "\n".join(f"| [`{name}`]({folder}/{name}.md) | {_cell(line)} |" for name, line in listed)
    entries = "\n".join(f"{folder}/{name}" for name, _ in listed)
    return f"| id | |\n|---|---|\n{lines}\n\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"


def _experiments() -> str:
    rows = [(name, load_study(name)) for name in study_ids()]
    lines = "\n".join(f"| `{name}` | {_cell(study.claim)} |" for name, study in rows)
    return f"| id | the claim |\n|---|---|\n{lines}\n"


def _results(folder: Path) -> str:
    """What lies in the folder of results: pages for the menu, and the page that `dts-gym report` wrote."""
    report = folder / "report.html"
    text = (
        '<a href="results/report.html">The report</a>: every claim with its verdicts, figures and numbers.\n\n'
        if report.is_file()
        else "The report of all experiments is not part of this build; the commands above make it.\n\n"
    )
    pages = "\n".join(sorted(f"results/{path.stem}" for path in folder.glob("*.md")))
    return f"{text}```{{toctree}}\n\n{pages}\n```\n" if pages else text


def copy_results(app: Sphinx, error: Exception | None) -> None:
    """Results that are no pages stand beside them as they are."""
    source = Path(app.srcdir) / "results"
    if error is None and source.is_dir():
        shutil.copytree(source, Path(app.outdir) / "results", ignore=shutil.ignore_patterns("*.md"), dirs_exist_ok=True)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _summary(target: Any) -> str:
    return inspect.cleandoc(target.__doc__ or "").partition("\n")[0]


def _home(cls: Any) -> str:
    """The shortest path that a class is documented under."""
    package = cls.__module__.rpartition(".")[0]
    is_public = cls.__name__ in getattr(importlib.import_module(package), "__all__", ())
    return f"{package if is_public else cls.__module__}.{cls.__name__}"


def _reference(name: str) -> str:
    """A name in single backticks, in Markdown: a link where there is something to link to."""
    if name in dts_gym.env_ids():
        return f"[`{name}`]({name}.md)"
    return f"{{py:obj}}`{name}`" if name.startswith("dts_gym.") else f"`{name}`"


def fit_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before numpydoc sees them: environments refer to their page, indented formulas stay as they are typed."""
    if what == "class" and any(_HEADING.match(line) for line in lines):
        ids = [env_id for env_id in dts_gym.env_ids() if env_creator(env_id) is obj]
        lines[:] = [lines[0], "", *(f"All about it: :doc:`/environments/{env_id}`." for env_id in ids)]
    lines[:] = list(with_literal_blocks(with_joined_items(lines)))


def with_literal_blocks(lines: Iterable[str]) -> Iterator[str]:
    """Mark indented paragraphs of the text, and of sections of text, as literal.

    Examples
    --------
    >>> list(with_literal_blocks(["It is", "", "    a_1 = b_1", "", "so."]))
    ['It is', '', '::', '', '    a_1 = b_1', '', 'so.']
    """
    listed = list(lines)
    section, literal, last = "", False, ""
    for place, line in enumerate(listed):
        underlined = place + 1 < len(listed) and set(listed[place + 1].strip()) == {"-"}
        if underlined:
            section = line.strip()
        indented = line.startswith("    ")
        fresh = indented and not literal and place > 0 and not listed[place - 1].strip()
        is_more = last.endswith("::") or last.lstrip().startswith(("- ", ".."))  # of a list or a directive
        if fresh and section in ("", "Notes") and not is_more:
            yield "::"
            yield ""
            literal = True
        if line.strip() and not indented:
            literal = False
        if line.strip():
            last = line
        yield line


def with_joined_items(lines: Iterable[str]) -> Iterator[str]:
    """Join a parameter's line with those it goes on in: numpydoc takes the first for a type, the rest for the text.

    A line is wrapped where the next word would not have fitted; a type is shorter.

    Examples
    --------
    >>> list(with_joined_items(["x : (n,)", "    Of all."]))
    ['x : (n,)', '    Of all.']
    """
    item: str | None = None
    for line in lines:
        goes_on = item is not None and line.startswith("    ") and line.strip()
        if goes_on and len(item.splitlines()[-1]) + 1 + len(line.split()[0]) > _WIDTH:
            item += "\n" + line.strip()
            continue
        if item is not None:
            yield " ".join(item.splitlines())
            item = None
        if re.match(r"\*{0,2}\w+(, \*{0,2}\w+)* : ", line):
            item = line
        else:
            yield line
    if item is not None:
        yield " ".join(item.splitlines())


def find_by_end(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """A name without its module, as docstrings have it: the one documented object that ends so, if there is one."""
    if node.get("refdomain") != "py":
        return None
    objects = env.domains.python_domain.objects
    # `dts_gym.priors.links.Link.state` may be documented as dts_gym.Link.state, `dts_gym.harness.tuning.tune` as
    # dts_gym.tune.
    end = re.sub(r"^dts_gym\.(\w+\.)*(?=[A-Z])", "", node["reftarget"])
    name = end.rpartition(".")[2]
    if end.startswith("dts_gym.") and name in dts_gym.__all__ and f"dts_gym.{name}" in objects:
        end = f"dts_gym.{name}"
    found = {
        (entry.docname, entry.node_id)
        for name, entry in objects.items()
        if f".{name}".endswith(f".{end}") and not entry.aliased
    }
    if len(found) != 1:
        return None
    ((docname, anchor),) = found
    return make_refnode(app.builder, node["refdoc"], docname, anchor, contnode)


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages when a build starts, and read docstrings in the house style."""
    # Within unions and tuples Sphinx prints an alias of a type as the object that it holds it in.
    TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # type: ignore[method-assign]
    # Before autosummary imports modules that register more than importing the package does.
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir)), priority=100)
    app.connect("builder-inited", lambda app: remove_old_references(Path(app.srcdir)), priority=100)
    app.connect("build-finished", copy_results)
    app.connect("missing-reference", find_by_end)
    app.connect("autodoc-process-docstring", fit_docstring, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
