"""The time of each augmentation of a batch, relative to a training step of ResNet-20 at 28 x 28 without augmentation.

Batches of 64 grey images, as of Fashion-MNIST, and of 64 colour images of the same size; the step is a forward pass, a backward pass and an
update, with the default precision. An augmentation is the time of a training batch's
transform with it, less the time of the transform without: mixed batches are mixed, too. Every repetition measures all in turn, each over
ten batches.
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
        names = [*PRESETS, *OPERATIONS]
        if quick:
            names = ["light", "strong"]
        elif channels == 3:
            names = ["light", "medium", "strong", "color"]
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

        work = {"step": steps, "none": preparing(splits.train, "none")} | {name: preparing(splits.train, name) for name in names}
        for run in work.values():
            run()
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(repeats):
            for name, run in work.items():
                seconds[name].append(seconds_of(run))
        step, plain = quartiles(seconds["step"]).value, quartiles(seconds["none"]).value
        for name in names:
            shares = [100 * (value - plain) / step for value in seconds[name]]
            milliseconds = 1e3 * (quartiles(seconds[name]).value - plain) / BATCHES
            text = format_augment(parse_augment(name)) if name in PRESETS else ""
            rows.append(
                row(
                    f"{'grey' if channels == 1 else 'colour'}: {name}",
                    quartiles(shares),
                    unit="%",
                    target=TARGET,
                    details=f"{milliseconds:.2f} ms of {1e3 * step / BATCHES:.1f} ms{' (' + text + ')' if text else ''}",
                )
            )
    return rows


if __name__ == "__main__":
    main(__doc__ or "", measure)
