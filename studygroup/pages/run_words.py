"""What a run's page says in words: what was trained on what, what the numbers tell, and what to do next."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence

from studygroup.escape import one_line, shortened
from studygroup.foreign import allow_flag, is_import_path
from studygroup.options import as_tuple
from studygroup.pages.run_classes import sure
from studygroup.pages.run_facts import ENSEMBLE, RunFacts
from studygroup.pages.tables import Command, Fact, Finding, Measure, percent, wilson
from studygroup.runs.layout import FORMAT
from studygroup.runs.reader import number, section, values

ONES = {"images": "image", "texts": "text", "samples": "sample"}
NOTABLE = 0.05
"""Difference between mean probability and accuracy from which on it is said."""
RISE = 1.1
"""Hold-out loss at the end over its lowest value, from which on a network over-fits."""
SURE = 2.0
"""Standard errors from which on a difference is called one."""


def headline(run: RunFacts) -> str:
    """Return the title of the page."""
    student, method = (
        shortened(run.record.name("student") or "network", 50),
        shortened(run.record.name("method") or "an unknown method", 40),
    )
    data = run.record.name("data").rstrip("/").rpartition("/")[2] or "data"
    return f"{student} on {shortened(data, 60)}, by {method}"


def sentence(run: RunFacts) -> str:
    """Say what was trained on what, and how good it is."""
    record, who = run.record, _who(run)
    taught = _teachers(record.settings.get("teacher"), section(run.result, "teachers"))
    samples = run.samples_in("training")
    source = f"{samples:,} training {run.kind}" if samples else f"training {run.kind}"
    classes = f" of {len(run.classes):,} classes" if run.classes else ""
    done, planned = len(record.epochs), number(run.result or record.settings, "epochs")
    what = f"{who} {shortened(record.name('method') or 'an unknown method', 40)}{taught} on {source}{classes}"
    if not run.finished:
        of = f" of {planned:.0f}" if planned else ""
        return f"{what}. The run is not finished: {done}{of} epochs are done."
    length = f" in {planned:.0f} {'epoch' if planned == 1 else 'epochs'}" if planned else ""
    return f"{what}{length}. {_selection(run)}"


def _teachers(given: object, weights: Mapping[str, object]) -> str:
    """Say who taught, and with which weights; nothing without a teacher."""
    names = [shortened(name, 40) for name in as_tuple(given) if isinstance(name, str) and name]
    if len(names) < 2:
        return f" with the teacher {names[0]}" if names else ""
    shares = [number(own, "weight") for own in weights.values() if isinstance(own, Mapping)]
    if len(shares) == len(names) and None not in shares and len(set(shares)) > 1:
        names = [f"{name} ({share:.0%})" for name, share in zip(names, shares, strict=True)]
    return f" with the teachers {', '.join(names[:-1])} and {names[-1]}"


def _who(run: RunFacts) -> str:
    """Say how many networks of which kind learned."""
    count, student = len(run.students) or 1, shortened(run.record.name("student") or "network", 50)
    peers = section(run.result, "identity").get("peers")
    if isinstance(peers, list) and peers:
        return f"{_words(count)} networks ({', '.join(shortened(str(name), 40) for name in [student, *peers])}) learned together by"
    size = number(section(run.data, "network"), "parameters") or _parameters(run)
    each = f" ({size:,.0f} parameters{' each' if count > 1 else ''})" if size else ""
    return f"{_words(count)} {student} networks{each} learned together by" if count > 1 else f"One {student} network{each} was trained by"


def _selection(run: RunFacts) -> str:
    held = number(run.result, "holdout_samples") or run.samples_in("hold-out")
    test, samples = number(run.selected, "test"), number(run.result, "test_samples")
    what, epoch = one_line(run.member), run.epoch
    kind = section(run.result, "hand_over").get("kind")
    by = f", chosen by {held:.0f} held-out {run.kind}," if held and kind in (None, "selected") else ""
    state = f"{what} as it was after epoch {epoch}{by}" if epoch is not None else what
    if test is None:
        holdout = number(run.selected, "holdout")
        return f"{state} classifies {percent(holdout)} of the hold-out {run.kind} correctly; there is no score on a test set."
    of = f"{samples:,.0f} test {run.kind}" if samples else f"test {run.kind}"
    return f"{state} classifies {percent(test)} of the {of} correctly."


def _words(count: int) -> str:
    return ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")[count] if count <= 8 else str(count)


def _parameters(run: RunFacts) -> float | None:
    sizes = values(run.result, "parameters")
    return sizes.get(run.member) or number(section(run.data, "network"), "parameters")


def facts(run: RunFacts) -> list[Fact]:
    """Return the numbers that stand out."""
    found = []
    test, samples = number(run.selected, "test"), number(run.result, "test_samples")
    if test is not None and samples:
        low, high = wilson(test, int(samples))
        found.append(Fact("test accuracy", percent(test), f"95 % interval {percent(low, 1)} to {percent(high, 1)}", "main"))
    holdout = number(run.selected, "holdout")
    if holdout is not None:
        found.append(Fact("hold-out accuracy", percent(holdout), f"at epoch {run.epoch}" if run.epoch else "", "" if found else "main"))
    if not run.finished and run.record.epochs:
        last = values(run.record.epochs[-1], "holdout")
        if last:
            name = max(last, key=lambda key: last[key])
            found.append(Fact("hold-out accuracy so far", percent(last[name]), name, "main"))
    if run.evaluation is not None:
        found.append(Fact("calibration error", percent(run.evaluation.calibration_error, 1), "mean gap of probability and accuracy"))
    size = _parameters(run)
    if size:
        found.append(Fact("parameters", f"{size:,.0f}", f"{4 * size / 1e6:,.1f} MB in float32"))
    seconds = run.record.seconds if run.finished else sum(number(epoch, "seconds") or 0.0 for epoch in run.record.epochs)
    if seconds:
        found.append(
            Fact("training", duration(seconds), one_line(str(run.environment.get("gpu") or run.environment.get("processor") or "")))
        )
    return found


def duration(seconds: float) -> str:
    """Format seconds."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def yardstick(run: RunFacts) -> list[Measure]:
    """Return what the accuracy is to be compared with: the most frequent class, a linear model, the other members."""
    last, part = section(run.result, "last"), "test"
    own = number(run.selected, "test")
    if own is None:
        own, part = number(run.selected, "holdout"), "holdout"
    if own is None:
        return []
    found = []
    support = run.evaluation.support if run.evaluation is not None and part == "test" else ()
    if support and sum(support):
        found.append(Measure("always the most frequent class", max(support) / sum(support), ""))
    linear = section(run.result, "linear")
    share = number(linear, part)
    if share is not None:
        found.append(Measure(f"linear model ({shortened(str(linear.get('model', '')).partition(' ')[0], 20)})", share, ""))
    scores = values(last, part)
    students = [scores[name] for name in run.students if name in scores]
    if len(students) > 1:
        found.append(Measure(f"mean of the {len(students)} students", statistics.fmean(students), ""))
        if ENSEMBLE in scores:
            found.append(Measure("ensemble of the students", scores[ENSEMBLE], ""))
    found += [Measure(name, evaluation.accuracy, "") for name, evaluation in run.record.evaluations.items() if name != "best"]
    found.append(Measure("the selected student", own, "", "own"))
    return [Measure(one_line(one.name), one.share, percent(one.share), one.css) for one in sorted(found, key=lambda one: one.share)]


def findings(run: RunFacts) -> list[Finding]:
    """Return what the numbers tell, most important first."""
    found = [*_unfinished(run), *_against_linear(run), *_length(run), *_calibration(run), *_classes(run), *_ensemble(run)]
    if run.finished and number(run.selected, "test") is None:
        found.insert(
            0, Finding("info", "There is no score on a test set: the hold-out set chose the student, so its accuracy there is too high.")
        )
    return found


def _unfinished(run: RunFacts) -> list[Finding]:
    if run.finished:
        return []
    return [Finding("info", "This run is being trained, or was stopped. This page shows what there was when it was written.")]


def _against_linear(run: RunFacts) -> list[Finding]:
    linear, own, samples = number(section(run.result, "linear"), "test"), number(run.selected, "test"), number(run.result, "test_samples")
    if linear is None or own is None or not samples:
        return []
    if linear >= own:
        better = "better" if linear > own else "as good"
        text = f"A linear model is {better} ({percent(linear)}): use it, or train longer, on more data, or another network."
        return [Finding("warn", text)]
    reach = SURE * (2 * own * (1 - own) / samples) ** 0.5
    sized = "within what chance does" if own - linear < reach else "a clear gain"
    return [Finding("good" if own - linear >= reach else "info", f"{100 * (own - linear):.1f} points above a linear model, {sized}.")]


def _length(run: RunFacts) -> list[Finding]:
    """Say whether the training was too short or over-fits, by the hold-out set."""
    records, samples = run.record.epochs, number(run.result, "holdout_samples")
    best = [max(scores) for record in records if (scores := [values(record, "holdout").get(n, 0.0) for n in run.record.candidates])]
    if not run.finished or len(best) < 10 or not samples:
        return []
    part = max(len(best) // 10, 2)
    late, before = statistics.fmean(best[-part:]), statistics.fmean(best[-2 * part : -part])
    noise = (late * (1 - late) / samples) ** 0.5
    found = []
    losses = [values(record, "holdout_cross_entropy").get(run.member) for record in records]
    known = [loss for loss in losses if loss is not None]
    if late - before > noise:
        text = f"Hold-out accuracy still rises at the end ({100 * (late - before):+.1f} points in the last {part} epochs): train longer."
        found.append(Finding("warn", text))
    elif known and known[-1] > RISE * min(known):
        text = (
            f"Hold-out loss of {one_line(run.member)} rises from {min(known):.3f} to {known[-1]:.3f}: it over-fits. More data, stronger "
            "augmentation or regularisation can help, more epochs cannot."
        )
        found.append(Finding("warn", text))
    else:
        found.append(Finding("good", "The curves are flat at the end: the training was long enough."))
    return found


def _calibration(run: RunFacts) -> list[Finding]:
    gap = None if run.predictions is None else sure(run.predictions)
    if gap is None or run.evaluation is None:
        return []
    error = run.evaluation.calibration_error
    if abs(gap) < NOTABLE <= error:
        text = (
            f"Its probabilities are right on average, but not one by one: among equally sure predictions they are {percent(error, 1)} off."
        )
        return [Finding("info", text)]
    if abs(gap) < NOTABLE:
        return [Finding("good", "Its probabilities can be taken at their word: on average they are within 5 points of the accuracy.")]
    word = "too sure of itself" if gap > 0 else "less sure than it could be"
    text = f"It is {word}: on average its probability is {100 * abs(gap):.1f} points {'above' if gap > 0 else 'below'} its accuracy."
    return [Finding("warn", text + (" Label smoothing or a temperature can correct that." if gap > 0 else ""))]


def _classes(run: RunFacts) -> list[Finding]:
    found = run.evaluation
    confused = found.most_confused() if found is not None else []
    if found is None or not confused:
        return []
    weakest = found.weakest()[0]
    true, predicted, count = confused[0]
    name = [shortened(label, 30) for label in found.classes]
    score = "–" if found.f1[weakest] is None else f"{found.f1[weakest]:.3f}"
    often = "once" if count == 1 else f"{count:,} times"
    text = f"Weakest class: {name[weakest]} (F1 {score}). Most frequent confusion: {name[true]} taken for {name[predicted]}, {often}."
    return [Finding("info", text)]


def _ensemble(run: RunFacts) -> list[Finding]:
    last, samples = values(section(run.result, "last"), "test"), number(run.result, "test_samples")
    own, together = number(run.selected, "test"), last.get(ENSEMBLE)
    students = [name for name in run.students if name in last]
    if own is None or together is None or not samples or len(students) < 2 or run.member == ENSEMBLE:
        return []
    if together - own > (own * (1 - own) / samples) ** 0.5:
        gain = f"{100 * (together - own):.1f} points better, at {len(students)} times the cost of a prediction"
        return [Finding("info", f"All students together are {gain}: --hand-over ensemble, or --hand-over distilled for a single network.")]
    return []


def commands(run: RunFacts) -> list[Command]:
    """Return the commands to use the student, deploy it, train it again and go on."""
    folder = shlex.quote(str(run.record.folder))
    flag = allow_flag(filter(is_import_path, [run.record.name("student")]))
    sample = "'A TEXT'" if run.files.tokenizer.is_dir() else "IMAGE"
    config = shlex.quote(str(run.files.config))
    found = []
    if run.finished:
        found += [
            Command("Try it", f"studygroup predict {folder} {sample}{flag}"),
            Command("Deploy it", f"studygroup export {folder} --format onnx{flag}"),
            Command("In Python", f"studygroup.Run({str(run.record.folder)!r}).best"),
        ]
    if not run.finished:
        found.append(Command("Continue it, if it was stopped", f"studygroup train --config {config} --out {folder} --resume{flag}"))
    elif run.files.config.is_file():
        found.append(Command("Train it again", f"studygroup train --config {config} --out NEW{flag}"))
    data, student = run.record.settings.get("data"), run.record.name("student")
    if run.finished and isinstance(data, str) and student and result_is_current(run):
        ask = f"studygroup advise {shlex.quote(data)} --student {shlex.quote(student)}"
        found.append(Command("Longer, larger or a group?", ask))
    return found


def result_is_current(run: RunFacts) -> bool:
    """Return whether the run's result is of this version's format."""
    return number(run.result, "format") == FORMAT


def settings(run: RunFacts) -> Sequence[tuple[str, str]]:
    """Return the facts about the cost and the origin of a run: name and value."""
    result, environment = run.result, run.environment
    versions = section(environment, "versions")
    seconds = [v for epoch in run.record.epochs if (v := number(epoch, "seconds"))]
    rates = [v for epoch in run.record.epochs if (v := number(epoch, "samples_per_second"))]
    trained, ranks = number(result, "trained_parameters"), section(result, "ranks")
    facts: list[tuple[str, str]] = [
        ("trained parameters", f"{trained:,.0f}" if trained else ""),
        ("training time", duration(run.record.seconds) if run.record.seconds else ""),
        ("per epoch", duration(statistics.median(seconds)) if seconds else ""),
        ("samples per second", f"{statistics.median(rates):,.0f}" if rates else ""),
        ("processes", str(ranks.get("number", ""))),
        ("machine", one_line(str(environment.get("gpu") or environment.get("processor") or ""))),
        ("threads", str(environment.get("threads", ""))),
        ("begun", one_line(str(environment.get("time", "")))),
        ("seed", str(run.record.seed)),
        ("commit", one_line(str(environment.get("commit") or ""))),
        ("versions", ", ".join(f"{one_line(str(name))} {one_line(str(version))}" for name, version in versions.items())),
    ]
    return [(name, text) for name, text in facts if text]
