"""The time of preparing a batch with each augmentation, relative to a training step of ResNet-20 at 28 x 28.

Batches of 64 grey images, the size of Fashion-MNIST's, and of 64 colour images of the same size. Preparing is all that happens to a batch
before the step: gather, augmentation, normalisation, and mixing of pairs; `none` is without augmentation. The step is a forward pass, a
backward pass and an update, in the default precision. Every repetition measures all in turn, each over ten batches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from common import Row, defaults, main, maker, random_material, row
from studygroup.data import Batches, Split
from studygroup.data.images.augment import OPERATIONS, PRESETS, format_augment, parse_augment
from studygroup.data.images.transform import ImageTransform
from studygroup.methods import Baseline
from studygroup.training import Settings
from studygroup.training.meter import LossMeter
from studygroup.training.step_runner import StepRunner
from studygroup.training.timing import quartiles, seconds_of

TARGET = 5.0  # percent of a step
BATCHES, BATCH = 10, 64


def preparing(split: Split, augment: str) -> Callable[[], None]:
    """Return a function that makes ten batches."""
    device, _, layout = defaults()
    channels = split.inputs.shape[1]
    transform = ImageTransform((channels, 28, 28), (0.5,) * channels, (0.25,) * channels, augment, device, layout)
    batches = Batches(split, transform, batch_size=BATCH)

    def run() -> None:
        for batch in batches.epoch(0):
            batch.inputs.sum()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def measure(repeats: int, quick: bool) -> list[Row]:
    rows = []
    for channels in (1, 3):
        names = ["none", *PRESETS, *OPERATIONS]
        if quick:
            names = ["none", "light", "strong"]
        elif channels == 3:
            names = ["none", "light", "medium", "strong", "color"]
        names = [name for name in names if channels == 3 or name != "color"]
        splits = random_material(BATCHES * BATCH, 0, (channels, 28, 28))
        settings = Settings(epochs=1, batch_size=BATCH)
        runner = StepRunner.build(Baseline(), maker("resnet8" if quick else "resnet20", splits), splits, settings)
        batches = list(runner.batches.epoch(0))

        def steps(runner: StepRunner = runner, batches: list = batches) -> None:  # type: ignore[type-arg]
            meter = LossMeter()
            for number, batch in enumerate(batches):
                runner.step(batch, runner.clock(0, number), meter)
            if runner.device.type == "cuda":
                torch.cuda.synchronize()

        work = {"step": steps} | {name: preparing(splits.train, name) for name in names}
        for run in work.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(repeats):
            for name, run in work.items():
                seconds[name].append(seconds_of(run))
        step = quartiles(seconds["step"]).value
        for name in names:
            text = format_augment(parse_augment(name)).replace("+", ", ") if name in PRESETS else ""
            milliseconds = 1e3 * quartiles(seconds[name]).value / BATCHES
            rows.append(
                row(
                    f"{'grey' if channels == 1 else 'colour'}: {name}{f' ({text})' if text else ''}",
                    quartiles([100 * value / step for value in seconds[name]]),
                    unit="%",
                    target=TARGET,
                    details=f"{milliseconds:.2f} ms, the step {1e3 * step / BATCHES:.1f} ms",
                )
            )
    return rows


if __name__ == "__main__":
    main(__doc__, measure)
