"""Write all drawings: `make figures`; with --check, name those that are stale."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from docs.drawings.canvas import DARK, LIGHT, Canvas, Theme
from docs.drawings.divergence import directions
from docs.drawings.groups import groups, idea
from docs.drawings.pixels import augmentation, mistakes
from docs.drawings.shares import shares
from docs.drawings.tables import advice, advice_photos, leaderboard
from docs.drawings.updates import roles, update

FOLDER = Path(__file__).parents[1] / "figures"
DRAWINGS: dict[str, tuple[Callable[[Theme], Canvas], str]] = {
    "idea": (idea, "A group as routes through one network, and as networks that teach each other"),
    "groups": (groups, "A group as routes through one network, as branches on a trunk, and as separate networks"),
    "update": (update, "One update: the method yields losses, the trainer makes the backward pass and the optimizer's step"),
    "roles": (roles, "Who teaches whom in ORC in one batch"),
    "shares": (shares, "How CGL deals the samples of an epoch to its students"),
    "directions": (directions, "What the two directions of the Kullback-Leibler divergence make of a student"),
    "leaderboard": (leaderboard, "What each method gains over training alone on Fashion-MNIST, with its interval"),
    "advice": (advice, "Accuracy of the candidates of an advice against the cost of their training"),
    "advice-photos": (advice_photos, "Accuracy of the candidates of the tutorial's advice against the cost of their training"),
    "augmentation": (augmentation, "Six images of Fashion-MNIST under each preset of augmentation"),
    "photos-mistakes": (mistakes, "The most confident mistakes of the tutorial's network, with the true and the predicted class"),
}


def files() -> dict[Path, str]:
    """Return the content of every file."""
    return {
        FOLDER / f"{name}{'' if theme is LIGHT else '-dark'}.svg": draw(theme).svg(title)
        for name, (draw, title) in DRAWINGS.items()
        for theme in (LIGHT, DARK)
    }


def main(arguments: list[str]) -> int:
    """Write the files, or name those that are stale; 1 if there are some and `--check` is given."""
    stale = [path for path, content in files().items() if not path.is_file() or path.read_text(encoding="utf-8") != content]
    for path in stale:
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
        print(f"{path.name} {'is stale; run `make figures`' if '--check' in arguments else 'rewritten'}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
