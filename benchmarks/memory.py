"""Memory of live tensors in a training step, and activations that still exist when the optimizer runs.

ResNet-20 on 1 x 28 x 28, batch size 64: alone, CGL with 8 students, DML with 4, and ORC with 3 ResNet-8 students and a ResNet-20 pivot. The
peak counts the storages of all tensors in a step, including weights, optimizer state and batch. The activations that autograd graphs hold
during an optimizer update are of two kinds: `left over`, if their backward pass is done, and `waiting`, if a later loss of the step needs
them. The targets: nothing is ever left over, and nothing waits at the last update of a step.
"""

from __future__ import annotations

from common import Row, clothes, exact, main, maker
from studygroup.methods import CGL, DML, ORC, Baseline, Method
from studygroup.training import Settings
from studygroup.training.timed_trainer import TimedTrainer

MIB = 2.0**20


def measure(repeats: int, quick: bool) -> list[Row]:
    splits = clothes(200 if quick else 640, 10, quick=quick)
    settings = Settings(batch_size=16 if quick else 64)
    large = "resnet8" if quick else "resnet20"
    methods: dict[str, tuple[Method, str]] = {
        f"{large} alone": (Baseline(), large),
        f"CGL, 8 students of {large}": (CGL(students=8), large),
        f"DML, 4 x {large}": (DML(students=4), large),
        f"ORC, 3 x resnet8 and {large}": (ORC(students=3), "resnet8"),
    }
    rows = []
    for name, (method, student) in methods.items():
        make = maker(student, splits, teacher=large if method.needs_teacher else None)
        memory = TimedTrainer(name, method, make, splits, settings).memory
        assert memory is not None
        waiting = ", ".join(f"{size / MIB:.1f}" for size in memory.waiting)
        rows += [
            exact(
                f"{name}: peak of a step",
                memory.peak / MIB,
                "MiB",
                details=f"{memory.resident / MIB:.1f} MiB of it weights, optimizer state and batch",
                figures={"peak": memory.peak, "resident": memory.resident},
            ),
            exact(
                f"{name}: left over at an update",
                max(memory.left) / MIB,
                "MiB",
                target=0.0,
                details=f"waiting for a later loss, at each update: {waiting} MiB",
                figures={"waiting": memory.waiting, "left": memory.left},
            ),
            exact(f"{name}: waiting at the last update", memory.waiting[-1] / MIB, "MiB", target=0.0),
        ]
    return rows


if __name__ == "__main__":
    main(__doc__, measure, repeats=1)
