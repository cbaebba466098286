"""Settings of the site, for Sphinx: `make docs` builds it into build/site.

The pages are plain Markdown, to be read on GitHub, too. What only the site has, its navigation and the reference made from docstrings, is
added as the pages are read: the navigation from `NAVIGATION`, the reference in place of comments `<!-- reference: NAME -->`.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from pathlib import Path
from types import GenericAlias
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import studygroup as sg  # noqa: E402 (the checkout's, whatever is installed)
from studygroup.methods import METHODS  # noqa: E402
from studygroup.parameters import parameters_of  # noqa: E402

project = "studygroup"
author = "The studygroup developers"
copyright = author
release = version = sg.__version__
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/*/*.md", "recipes/*.md", "studies/*.md"]
exclude_patterns = ["build", "dist", "runs", "**/node_modules", ".*"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
highlight_language = "text"
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 100
napoleon_use_rtype = False
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = "studygroup"
html_static_path = ["static"]
html_css_files = ["studygroup.css"]
templates_path = ["."]
html_additional_pages = {"index": "index.html"}
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

NAVIGATION = {
    "Tutorials": [f"docs/tutorials/{name}" for name in ("photos", "texts", "advice", "compare", "method", "machines", "table")],
    "Guides": [
        "docs/data",
        "docs/texts",
        "docs/recipe",
        "docs/augmentation",
        "docs/weights",
        "docs/compare",
        "docs/advise",
        "docs/hand-over",
        "docs/teachers-and-unlabelled",
        "docs/predict",
        "docs/evaluating",
        "docs/report",
        "docs/analysis",
        "docs/deploy",
        "docs/studies",
    ],
    "Explanations": [f"docs/explain/{name}" for name in ("groups", "updates", "roles", "shares", "mistakes")],
    "Reference": [
        "docs/commands/README",
        "docs/api/README",
        "docs/methods/README",
        "docs/logit-losses",
        "docs/networks/README",
        "docs/sources/README",
        "docs/formats",
        "docs/reliability",
        "docs/performance",
        "docs/performance-gpu",
        "docs/scaling",
        "docs/glossary",
    ],
    "Measured": [
        "docs/when-a-group-pays",
        "docs/results",
        "docs/studies/published",
        "recipes/README",
        "studies/README",
        "LOG",
    ],
    "Project": ["docs/structure", "CONTRIBUTING", "CHANGELOG", "SECURITY"],
}
FOLDERS = ("docs/methods", "docs/networks", "docs/sources", "docs/commands", "docs/api")  # whose README leads to the pages beside it
REFERENCE = {  # the public names of `studygroup`, by the page in docs/api that shows them
    "functions": ["train", "compare", "advise", "study", "benchmark", "predict", "evaluate", "export", "report", "list_names", "list_runs"],
    "runs": ["Run", "Member", "ExportedModel"],
    "errors": ["UserError", "TrainingError"],
    "methods": ["Method", "StageSpec", "methods.method.Losses", *(path.partition(":")[2] for path in METHODS.built_in.values())],
    "analysis": [f"analysis.{module}" for module in sg.analysis.MODULES],
    **{package: [f"{package}.{name}" for name in getattr(sg, package).__all__] for package in ("losses", "networks", "data", "options")},
}
ELSEWHERE = ("data.OnError", "options.RENAMED", "options.FROM_PYTHON")  # shown with another part, or of no use to a reader
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example):$")
NOT_SHOWN = {"methods": "build, step, extra_members, group, logits, stages, partition"}  # of each method what the contract says already


def navigation(page: str) -> str:
    """Return the hidden tables of contents of a page: the site's, or that of its folder."""
    if page == root_doc:
        return "".join(toctree(caption, pages) for caption, pages in NAVIGATION.items())
    folder = page.removesuffix("/README")
    if folder in FOLDERS:
        return toctree(None, [f"{folder}/{path.stem}" for path in sorted((ROOT / folder).glob("*.md")) if path.stem != "README"])
    return ""


def toctree(caption: str | None, pages: list[str]) -> str:
    """Return a hidden table of contents."""
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    return f"\n```{{toctree}}\n{options}\n" + "\n".join(f"/{page}" for page in pages) + "\n```\n"


def reference(part: str) -> str:
    """Return the reference of some public names, as reStructuredText."""
    return "```{eval-rst}\n" + "\n".join(entry(part, name) for name in REFERENCE[part] if name not in ELSEWHERE) + "```\n"


def entry(part: str, name: str) -> str:
    """Return the directive for one public name."""
    value = functools.reduce(getattr, name.split("."), sg)
    if inspect.isclass(value):
        hidden = f"   :exclude-members: {NOT_SHOWN[part]}\n" if part in NOT_SHOWN and value is not sg.Method else ""
        inherited = "   :inherited-members:\n" if part == "runs" else ""
        return f".. autoclass:: studygroup.{name}\n   :members:\n{inherited}{hidden}"
    if inspect.ismodule(value):
        return f".. automodule:: studygroup.{name}\n   :members:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: studygroup.{name}\n"
    shown = f"   :value: {value!r}\n" if isinstance(value, float | GenericAlias) else ""
    return f".. py:data:: studygroup.{name}\n{shown}\n   {below_assignment(name.rpartition('.')[2])}\n"


def below_assignment(name: str) -> str:
    """Return the sentence below the assignment of a public name, in whichever module makes it; its value has the docstring of its class."""
    assignment = re.compile(rf'^{name}(?::[^\n]+)? = [^\n]*(?:\n[ )\]}}][^\n]*)*\n"""(.*?)"""', re.MULTILINE | re.DOTALL)
    sources = (path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("studygroup/**/*.py")))
    found = next(filter(None, map(assignment.search, sources)), None)
    return " ".join(found[1].split()) if found else ""


def literal_formulas(_app: Any, _what: str, _name: str, _value: object, _options: Any, lines: list[str]) -> None:
    """Make the indented blocks of an explanation literal: they are formulas and programs, whose lines are not to be joined."""
    found: list[str] = []
    explains, block = True, False
    for before, line in zip(["", *lines], lines, strict=False):
        explains &= not SECTION.match(line)
        if line and not line.startswith(" "):
            block = False
        elif line and not before and not block and explains and not found[-2].startswith(("- ", "* ", " ")):
            block = True
            found += ["::", ""]
        found.append(line)
    lines[:] = found


def plain_words(_app: Any, _what: str, _name: str, _value: object, _options: Any, lines: list[str]) -> None:
    """Rewrite what reStructuredText would take for something else, outside of formulas."""
    literal = False
    for number, line in enumerate(lines):
        literal = line == "::" or (literal and (not line or line.startswith(" ")))
        if not literal:
            lines[number] = "`".join(words if k % 2 else plain(words) for k, words in enumerate(line.split("`")))


def plain(words: str) -> str:
    """Return words of a docstring that are not code as reStructuredText: no bar begins a name, and flags keep their dashes."""
    return FLAG.sub(r"`\g<0>`", words.replace("|", "\\|"))


def short_signature(_app: Any, what: str, _name: str, value: Any, _options: Any, *_signature: object) -> tuple[str, str] | None:
    """Replace the signature of a function of dozens of options by a short one; its options are listed below it."""
    if what != "function" or not hasattr(value, "options"):
        return None
    given = [item.name for item in parameters_of(value.options).values() if item.positional and item.required]
    return f"({', '.join([*given, '**options'])})", value.__wrapped__.__annotations__["return"]


def complete(_: Any, page: str, content: list[str]) -> None:
    """Add to a page what only the site has."""
    text = re.sub(r"<!-- reference: (\w+) -->", lambda found: reference(found[1]), content[0])
    text = re.sub(r"^<!-- not run: (.+) -->$", r"*Not run when these pages are made: \1.*\n", text, flags=re.MULTILINE)
    text = re.sub(r"^<!-- python\n.*?^-->\n", "", text, flags=re.MULTILINE | re.DOTALL)
    folder = (ROOT / page).parent
    text = re.sub(r"\[([^\]]+)\]\(([^)#:]+)\)", lambda link: link[1] if (folder / link[2]).is_dir() else link[0], text)  # no page
    pictures = re.compile(r"!\[([^\]]*)\]\(([^)]+)\.(svg|png)\)")
    content[0] = pictures.sub(lambda found: both_variants(folder, *found.groups()), text) + navigation(page)


def both_variants(folder: Path, words: str, picture: str, kind: str) -> str:
    """Return the Markdown of a picture that follows the site's mode, if it has a dark variant."""
    if not (folder / f"{picture}-dark.{kind}").is_file():
        return f"![{words}]({picture}.{kind})"
    return f"![{words}]({picture}.{kind}){{.only-light}} ![{words}]({picture}-dark.{kind}){{.only-dark}}"


def setup(app: Any) -> None:
    """Register the additions with Sphinx."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", literal_formulas, priority=400)  # before sections become lists
    app.connect("autodoc-process-docstring", plain_words)
    app.connect("autodoc-process-signature", short_signature)
