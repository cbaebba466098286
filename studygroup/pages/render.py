"""The data of a page -> HTML: one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from studygroup.escape import visible

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> Environment:
    """Return the templates, which escape what they insert."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("studygroup.pages", "templates")
    found = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    style, script = (loader.get_source(found, name)[0] for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    found.globals |= {"style": Markup(style), "script": Markup(script), "script_hash": f"sha256-{digest}"}
    found.filters |= {"json": _json, "place": _place}
    return found


def render(template: str, page: object) -> bytes:
    """Return a page as HTML.

    Args:
        template: name of the template.
        page: its data.
    """
    text = environment().get_template(template).render(page=page)
    return text.encode("utf-8", "replace")


def _visible(value: Any) -> Any:
    """Return what is inserted; of a text, without characters that cannot be seen."""
    return visible(value) if type(value) is str else value


def _json(value: object) -> str:
    """Return JSON for an attribute."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _place(value: float) -> str:
    """Return a number by which JavaScript sorts."""
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else f"{value:.10g}"
