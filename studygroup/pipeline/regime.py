"""Where groups have lost to training alone on images: what a user is told whose run lies there.

    gain = at + by_size log2(N / 2000) + by_updates log2(U / 2000)            points of accuracy at equal total compute

N training images, U updates of the group at 64 images each. The planes are fitted by `studies/regime.py` to the runs of the study `regime`:
500 to 8,000 images of Fashion-MNIST, 14x14 pixels, flips and crops (docs/when-a-group-pays.md). Stronger augmentation needs more updates.
Of texts, too little was measured for a border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BEHIND = -0.5
"""Points that are worth a warning."""
CENTRE = 2000
BATCH = 64
MOST = 100
"""Times as many updates, above which no number is told: that far from what was measured, a plane says little."""


@dataclass(frozen=True)
class Plane:
    """Predict what a method gains over the network alone."""

    at: float
    by_size: float
    by_updates: float

    def gain(self, samples: int, updates: float) -> float:
        """Return the gain in points."""
        return self.at + self.by_size * math.log2(samples / CENTRE) + self.by_updates * math.log2(updates / CENTRE)

    def times(self, samples: int, updates: float) -> float:
        """Return how many times as many updates it takes until nothing is lost."""
        return float(2 ** min(-self.gain(samples, updates) / self.by_updates, 20.0))


PLANES = {
    "cgl": Plane(-2.06, -1.14, 2.00),
    "dml": Plane(-0.44, -0.62, 1.14),
    "one": Plane(-0.07, -0.56, 0.72),
}


def warning(method: str, samples: int, epochs: int) -> str | None:
    """Return a line for a run on images that lies where its method has lost to training alone; None for all others.

    Args:
        method: its name.
        samples: number of training images.
        epochs: of the run.
    """
    plane = PLANES.get(method)
    if plane is None or samples < 1 or plane.gain(samples, updates := epochs * samples / BATCH) > BEHIND:
        return None
    times = plane.times(samples, updates)
    wanted = f"about {times:.0f} times as many" if 2 <= times <= MOST else "more" if times < 2 else f"over {MOST} times as many"
    images, passes = f"{samples:,} image{'s' * (samples != 1)}", f"{epochs:,} epoch{'s' * (epochs != 1)}"
    return (
        f"{images}, {passes}: where this was measured, {method} was behind training alone at the same compute and needed {wanted} updates; "
        "try --method baseline, or let `studygroup advise` find out"
    )
