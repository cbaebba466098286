"""What is printed for people: names and texts that others wrote must not control the terminal."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from studygroup.escape import visible

if TYPE_CHECKING:
    from rich.console import Console


class VisibleFormatter(logging.Formatter):
    """A formatter of log messages without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message."""
        return visible(super().format(record))


def safe_console(**options: Any) -> Console:
    """Return a console of rich that prints no control characters but its own; the arguments are those of `Console`."""
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
    from rich.segment import Segment

    class Visible:
        def __init__(self, content: ConsoleRenderable) -> None:
            self.content = content

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for segment in console.render(self.content, options):
                yield segment if segment.control else Segment(visible(segment.text), segment.style)

    class MakeVisible(RenderHook):
        def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
            return [Visible(content) for content in renderables]

    console = Console(**options)
    console.push_render_hook(MakeVisible())
    return console
