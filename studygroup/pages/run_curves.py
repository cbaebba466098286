"""The curves of a run, by member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from studygroup.pages.plots import Key, Plot, css, curves
from studygroup.pages.run_facts import ENSEMBLE, RunFacts
from studygroup.runs.reader import number, values

VISIBLE = 8
"""Members whose curves are visible at first; of more, the selected one and the ensemble, too."""
LEARNING_RATE = "learning rate"
METRICS = {
    "promoted": ("Promoted to a teacher", "share of an epoch's steps"),
    "fed": ("Samples that are fed back", "share that is the student's"),
}
"""What metrics of the members are called, and their unit."""


def legend(run: RunFacts) -> list[Key]:
    """Return the members with their colours."""
    names = [*run.names, *([ENSEMBLE] if any(ENSEMBLE in values(epoch, "holdout") for epoch in run.record.epochs) else [])]
    shown = {*names[:VISIBLE], run.member, ENSEMBLE}
    return [
        Key(name, "ink" if name == ENSEMBLE else css(place), name in shown, "selected" if name == run.member else "")
        for place, name in enumerate(names)
    ]


def run_curves(run: RunFacts) -> list[Plot]:
    """Return the plots over the epochs; those without numbers are left out."""
    records = run.record.epochs
    keys = legend(run)
    if not records:
        return []
    colours = {key.name: key.css for key in keys}
    hidden = [key.name for key in keys if not key.shown]
    epochs = [int(number(record, "epoch") or 0) for record in records]
    marked = (run.epoch, run.member) if run.epoch is not None else None
    nats = "{:.3f}".format
    found = []
    accuracy = _series(records, "holdout", colours)
    if accuracy:
        percents = {name: [None if v is None else 100 * v for v in numbers] for name, numbers in accuracy.items()}
        found.append(
            curves(
                "Hold-out accuracy",
                "% of the hold-out samples",
                epochs,
                percents,
                colours,
                text="{:.2f} %".format,
                marked=marked,
                hidden=hidden,
                late=True,
                limits=(0.0, 100.0),
                least=2.0,
                note="The dashed line marks the selected epoch." if marked is not None else "",
            )
        )
    losses = _losses(records, colours)
    if losses:
        found.append(
            curves(
                "Training loss",
                "all terms, per member",
                epochs,
                losses,
                colours,
                text=nats,
                hidden=hidden,
                late=True,
                note="The sum of the losses that the member is trained on, imitation included.",
            )
        )
    held_out = _series(records, "holdout_cross_entropy", colours)
    if held_out:
        note = "Where it rises again while accuracy does not, the network over-fits, or grows too sure of its mistakes."
        found.append(
            curves("Hold-out loss", "cross-entropy in nats", epochs, held_out, colours, text=nats, hidden=hidden, late=True, note=note)
        )
    spread = [
        (key, title, label, [number(record, key) for record in records], note)
        for key, title, label, note in (
            ("diversity", "Diversity", "mean distance of predictions", "Mean Euclidean distance of two students' predicted distributions."),
            (
                "disagreement",
                "Disagreement",
                "% of the hold-out samples",
                "Share of samples that two students assign to different classes.",
            ),
        )
    ]
    for key, title, label, numbers, note in spread:
        if any(v is not None for v in numbers):
            scaled = [None if v is None else 100 * v for v in numbers] if key == "disagreement" else numbers
            text = "{:.2f} %".format if key == "disagreement" else nats
            found.append(curves(title, label, epochs, {key: scaled}, {key: "ink"}, text=text, limits=(0.0, None), note=note))
    rates = [number(record, "learning_rate") for record in records]
    if any(rates):
        plain = {LEARNING_RATE: rates}
        found.append(
            curves("Learning rate", "after the epoch", epochs, plain, {LEARNING_RATE: "ink"}, text="{:.4g}".format, limits=(0.0, None))
        )
    return found


def _series(records: Sequence[Mapping[str, object]], key: str, colours: Mapping[str, str]) -> dict[str, list[float | None]]:
    """Return the numbers of each member by epoch."""
    found = {name: [values(record, key).get(name) for record in records] for name in colours}
    return {name: numbers for name, numbers in found.items() if any(v is not None for v in numbers)}


def _losses(records: Sequence[Mapping[str, object]], colours: Mapping[str, str]) -> dict[str, list[float | None]]:
    """Return the sum of the losses of each member by epoch."""
    found: dict[str, list[float | None]] = {}
    for place, record in enumerate(records):
        for name, value in values(record, "losses").items():
            member = name.partition("/")[0]
            if member in colours:
                numbers = found.setdefault(member, [None] * len(records))
                numbers[place] = (numbers[place] or 0.0) + value
    return {name: found[name] for name in colours if name in found}


def roles(run: RunFacts) -> list[Plot]:
    """Return plots of the metrics of the steps, such as the roles that members had: those of members first, which share their legend."""
    records, known = run.record.epochs, {key.name: key.css for key in legend(run)}
    of_members: dict[str, dict[str, list[float | None]]] = {metric: {} for metric in METRICS}
    of_others: dict[str, dict[str, list[float | None]]] = {}
    for place, record in enumerate(records):
        for name, value in values(record, "metrics").items():
            subject, _, metric = name.rpartition("/")
            metrics = of_members if subject in known else of_others
            numbers = metrics.setdefault(metric, {}).setdefault(subject or metric, [None] * len(records))
            numbers[place] = value
    epochs = [int(number(record, "epoch") or 0) for record in records]
    found = []
    for metric, series in of_members.items():
        title, unit = METRICS.get(metric, (metric.replace("_", " ").capitalize(), "mean over an epoch's steps"))
        if series:
            found.append(curves(title, unit, epochs, series, known, text="{:.3g}".format, limits=(0.0, None)))
    for metric, series in of_others.items():
        colours = {name: css(place) for place, name in enumerate(series)}
        title = metric.replace("_", " ") if len(series) > 1 else f"{next(iter(series))}: {metric.replace('_', ' ')}"
        plot = curves(title[:1].upper() + title[1:], "mean over an epoch's steps", epochs, series, colours, text="{:.3g}".format)
        found.append(replace(plot, legend=[Key(name, colour) for name, colour in colours.items()] if len(series) > 1 else ()))
    return found
