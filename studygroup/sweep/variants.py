"""Variants: the options of the runs that a comparison trains once per seed; one of them is the baseline."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studygroup import config
from studygroup.errors import UserError
from studygroup.methods import METHODS, method_class, method_options
from studygroup.networks import NETWORKS
from studygroup.networks.factory import is_untrained
from studygroup.options import CompareOptions, RunOptions, UnlabelledOptions, WeightsOptions, checked, note_of_object, plain
from studygroup.parameters import parameters_of
from studygroup.pipeline.setup import method_of, plan_stages, run_options, settings_of
from studygroup.pipeline.weights import TEACHER

BASELINE = "baseline"
NAME = re.compile(r"[\w.+-]+")
SEED = "{seed}"  # in the paths of teachers and weights
FIXED = ("data", "seed", "progress", "allow_code")  # options that no variant has of its own


@dataclass(frozen=True)
class Variant:
    """Options of a run that is trained once per seed.

    Attributes:
        name: of the variant, its runs and its row.
        options: of its runs, but for the seed.
        taught_by: for each teacher, the variant whose student of the same seed it is; None for another one.
        teaches: whether it is included only as a teacher.
        split_by_seed: whether each seed has a data split of its own.
        holdout_by_seed: whether each seed has a hold-out set of its own.
    """

    name: str
    options: RunOptions
    taught_by: tuple[str | None, ...] = ()
    teaches: bool = False
    split_by_seed: bool = False
    holdout_by_seed: bool = False

    @property
    def teachers(self) -> list[str]:
        """Return the variants that are its teachers."""
        return [name for name in self.taught_by if name is not None]

    def plain(self) -> dict[str, object]:
        """Return the variant in JSON's types; `teacher` is one name, a list of several, or None if no variant teaches it."""
        found = {**vars(self), "options": self.options.plain()}
        taught_by = list(found.pop("taught_by"))
        return {**found, "teacher": taught_by if len(taught_by) > 1 and self.teachers else next(iter(self.teachers), None)}


def make_variants(options: CompareOptions) -> tuple[list[Variant], str]:
    """Return the variants, and the name of the baseline: the variant of that name, or the first that equals it.

    Raises:
        UserError: a variant cannot be trained, as far as its options tell.
    """
    shared = shared_options(options)
    given = _given(options)
    by_method = _by_method(options.options)
    variants = []
    for name, own in given.items():
        with _named(name, options):
            variants.append(Variant(name, _options(name, own, shared, by_method)))
    alone = _options(BASELINE, {"method": BASELINE, "method_options": {}, "teacher": None, "peers": []}, shared, {})
    same = next((variant.name for variant in variants if variant.options == alone), BASELINE)
    _check_used(shared, variants)
    reference = BASELINE if BASELINE in given else same
    if reference not in given:
        variants.insert(0, Variant(BASELINE, replace(alone, method_options=by_method.get(BASELINE, {}))))
    strange = sorted(set(by_method) - {str(variant.options.method) for variant in variants})
    if strange:
        raise UserError(f"options are given for {strange[0]}, which is not compared; add it to the methods, or leave them out")
    counts: dict[str, int] = {}
    variants = [
        replace(
            variant,
            options=run_options(variant.options, counts),
            split_by_seed=options.split_by_seed,
            holdout_by_seed=options.holdout_by_seed,
        )
        for variant in _with_teachers(variants, alone)
    ]
    for variant in variants:
        with _named(variant.name, options):
            _check(variant, variants, options.seeds)
    taught = {name for variant in variants for name in variant.teachers} - {reference}
    teaches = {variant.name for variant in variants if variant.name in taught and variant.options.method == BASELINE}
    return [replace(variant, teaches=variant.name in teaches) for variant in variants], reference


def shared_options(options: CompareOptions) -> dict[str, object]:
    """Return the options that all variants share, as plain values, which can be sent to another machine.

    Raises:
        UserError: one is a Python object.
    """
    known = parameters_of(RunOptions)
    shared = {name: value for name, value in options.plain().items() if name in known and name != "progress"}
    for name, value in shared.items():
        if (noted := note_of_object(value)) is not None:
            raise UserError(f"{name} is a {noted}; runs are trained by other processes: name it, e.g. package.module:function")
    return shared


def _given(options: CompareOptions) -> dict[str, dict[str, object]]:
    """Return the options that each variant states itself, checked and as plain values."""
    known = {name: parameter for name, parameter in parameters_of(RunOptions).items() if name not in FIXED}
    given: dict[str, dict[str, object]] = {}
    for name, own in (options.variants or {}).items():
        where = f"variant {name}"
        if not NAME.fullmatch(name):
            raise UserError(f"{where}: a name may have letters, digits, and . + - _; rename it")
        if not isinstance(own, Mapping | None):
            raise UserError(f"{where} is {own!r}; write the options in which it differs, e.g. {{method: dml, epochs: 50}}")
        content = config.split_method(own or {}, f"{where}: ")
        try:
            given[name] = {key: plain(value) for key, value in checked(known, content).items()}
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    for method in options.methods:
        if not isinstance(method, str):
            raise UserError(f"methods holds {type(method).__name__}; give names of methods, and their options by `options`")
        name = method.rpartition(":")[2]
        if name in given:
            raise UserError(f"{name} is given twice; write a second variant into a recipe, with a name of its own")
        given[name] = {"method": method}
    if not given:
        raise UserError(f"there is nothing to compare; give --methods, e.g. {','.join(list(METHODS)[:3])}, or a recipe with variants")
    return given


def _options(name: str, own: Mapping[str, Any], shared: Mapping[str, Any], by_method: Mapping[str, Mapping[str, object]]) -> RunOptions:
    """Return all options of a variant. Shared ones go only to methods that take them."""
    method = own.get("method", shared["method"])
    if method is None:
        raise UserError(f"variant {name} names no method; write `method: cgl`, or give one to all variants")
    has_peers, has_teacher = "students" in method_options(method), method_class(method).needs_teacher
    inherited = {
        **shared,
        "peers": shared["peers"] if has_peers else [],
        "teacher": shared["teacher"] if has_teacher else None,
        "teacher_epochs": shared["teacher_epochs"] if has_teacher else None,
        "weights": _weights_of_members(shared["weights"], peers=has_peers, teacher=has_teacher),
    }
    if not method_class(method).takes_unlabelled:
        inherited |= UnlabelledOptions().plain()
    recipe = (shared["method_options"] or {}) if shared["method"] == method else {}
    of_method = {**recipe, **by_method.get(method, {}), **(own.get("method_options") or {})}
    return RunOptions.from_plain({**inherited, **own, "method": method, "method_options": of_method, "progress": False})


def _weights_of_members(weights: Any, *, peers: bool, teacher: bool) -> dict[str, str]:
    """Return the weights that are given to all variants for the members that a method has."""
    sources = WeightsOptions(weights=weights).sources()
    return {member: source for member, source in sources.items() if (teacher if member == TEACHER else peers or member == "student0")}


def _by_method(options: Mapping[str, object] | None) -> dict[str, dict[str, Any]]:
    """Group options by method: `{"cgl.students": 8}` or `{"cgl": {"students": 8}}` -> the latter."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in (options or {}).items():
        method, _, option = key.rpartition(".")
        if isinstance(value, Mapping):
            found.setdefault(key, {}).update({str(name): plain(item) for name, item in value.items()})
        elif method:
            found.setdefault(method, {})[option] = config.scalar(value) if isinstance(value, str) else plain(value)
        else:
            raise UserError(f"options: {key}={value} names no option; write METHOD.OPTION=VALUE, e.g. cgl.students=8")
    return found


def _with_teachers(variants: Sequence[Variant], alone: RunOptions) -> list[Variant]:
    """Return the variants, teachers first: variants that others name, and one more for every network that is trained first."""
    names = {variant.name for variant in variants}
    made: dict[str, Variant] = {}
    linked = []
    for variant in variants:
        taught_by: list[str | None] = []
        options = variant.options
        networks = [teacher for teacher in options.teachers if _is_trained_first(teacher, names)]
        for teacher in options.teachers:
            if teacher in names and options.teacher_epochs is not None and not networks:
                raise UserError(
                    f"teacher_epochs is {options.teacher_epochs}, but the teacher of {variant.name} is the variant {teacher}, which "
                    "has epochs of its own; leave it out"
                )
            taught_by.append(str(teacher) if teacher in names else None)
            if teacher in networks:
                taught_by[-1] = name = "teacher-" + re.sub(r"[^\w.+-]+", "-", str(teacher))
                own = _teacher_of(options, str(teacher), alone, several=len(networks) > 1)
                if made.setdefault(name, Variant(name, own)).options != own:
                    raise UserError(f"the teacher {teacher} is given different weights; make it a variant, and name that as the teacher")
        if networks:
            others = {member: source for member, source in options.sources().items() if member != TEACHER}
            variant = replace(variant, options=replace(options, weights=others or None, teacher_epochs=None))
        linked.append(replace(variant, taught_by=tuple(taught_by)))
    every = {variant.name: variant for variant in (*made.values(), *linked)}
    for name in every:
        _check_no_cycle([name], every)
    teachers = {name for variant in linked for name in variant.teachers}
    return sorted(every.values(), key=lambda variant: (bool(variant.teachers), variant.name not in teachers))


def _check_no_cycle(line: list[str], variants: Mapping[str, Variant]) -> None:
    """Raise UserError if a variant is its own teacher; `line` leads from it to one of its teachers' teachers."""
    for teacher in variants[line[-1]].teachers:
        if teacher in line:
            raise UserError(f"variant {line[0]} is its own teacher ({' from '.join([*line, teacher])}); give it another one")
        _check_no_cycle([*line, teacher], variants)


def _is_trained_first(teacher: object, variants: Collection[str]) -> bool:
    """Return whether a teacher is neither a variant nor trained already."""
    return isinstance(teacher, str) and teacher not in variants and not Path(teacher).is_dir() and _is_network(teacher)


def _teacher_of(options: RunOptions, teacher: str, alone: RunOptions, *, several: bool) -> RunOptions:
    """Return the options of a run that trains a variant's teacher.

    Args:
        options: of the variant.
        teacher: network.
        alone: options of the student alone.
        several: whether it is one of several such teachers, which are given no weights.

    Raises:
        UserError: there are weights for one of several teachers.
    """
    weights = options.sources().get(TEACHER)
    if several and weights is not None:
        raise UserError(f"weights {weights} are given for one of several teachers; make it a variant, and name that as the teacher")
    epochs = options.teacher_epochs or alone.epochs
    return replace(
        alone.stretched(epochs) if epochs and alone.epochs else alone,
        student=teacher,
        epochs=epochs,
        microbatches=1,
        learning_rate_scales=None,
        weights=weights,
        members_start="own",
        freeze="none",
        trained_rate_scale=alone.trained_rate_scale if weights is not None else 1.0,
    )


def _check_used(shared: Mapping[str, object], variants: Sequence[Variant]) -> None:
    """Raise UserError if an option is given to all variants and none of them takes it."""
    needs = {"teacher": "a teacher", "teacher_epochs": "a teacher", "peers": "peers", "unlabelled": "samples without labels"}
    for name, needed in needs.items():
        if shared[name] not in (None, []) and all(getattr(variant.options, name) in (None, (), []) for variant in variants):
            raise UserError(f"{name} is {shared[name]}, but no method that is compared takes {needed}; leave it out")


def _is_network(name: str) -> bool:
    return is_untrained(name) and (":" in name or name.partition("@")[0] in NETWORKS)


def seeded(variant: Variant, variants: Sequence[Variant], seed: int) -> RunOptions:
    """Return the options of a variant's run with a seed; a teacher that is a variant is given as its network."""
    options = variant.options
    students = {other.name: other.options.student for other in variants}
    linked = variant.taught_by or (None,) * len(options.teachers)
    teachers: list[Any] = [
        students[name] if name is not None else given.replace(SEED, str(seed)) if isinstance(given, str) else given
        for given, name in zip(options.teachers, linked, strict=True)
    ]
    weights = {member: source.replace(SEED, str(seed)) for member, source in options.sources().items()} or None
    split_seed = options.split_seed + (seed if variant.split_by_seed else 0)
    holdout_seed = (
        (split_seed if options.holdout_seed is None else options.holdout_seed) + seed if variant.holdout_by_seed else options.holdout_seed
    )
    return replace(options, teacher=teachers, weights=weights, seed=seed, split_seed=split_seed, holdout_seed=holdout_seed, progress=False)


@contextmanager
def _named(name: str, options: CompareOptions) -> Iterator[None]:
    """Begin error messages with the name of a variant that a recipe names."""
    try:
        yield
    except UserError as error:
        if name not in (options.variants or {}) or str(error).startswith("variant"):
            raise
        raise UserError(f"variant {name}: {error}") from error


def _check(variant: Variant, variants: Sequence[Variant], seeds: int) -> None:
    """Raise UserError if a variant cannot be trained, as far as its options tell."""
    for given in (teacher for teacher, name in zip(variant.options.teachers, variant.taught_by, strict=True) if name is None):
        if variant.split_by_seed and isinstance(given, str) and Path(given).is_dir():
            raise UserError(
                f"split_by_seed: the teacher {given} was trained on what other seeds test on; give a network, which is trained anew for "
                f"each seed, or a run for each ({SEED})"
            )
    for source in variant.options.sources().values():
        if variant.split_by_seed and Path(source).is_dir():
            raise UserError(
                f"split_by_seed: the weights of {source} were trained on what other seeds test on; give files, or a run for each "
                f"seed ({SEED})"
            )
    if variant.options.time_limit is not None:
        raise UserError(
            f"time_limit is {variant.options.time_limit}, but compare gives every run of a method the same number of epochs, whatever else "
            "the machine does; give --epochs, or --budget equal-compute"
        )
    first = seeded(variant, variants, 0)
    method, settings = method_of(first), settings_of(first)
    for seed in range(seeds):
        plan_stages(seeded(variant, variants, seed), method, settings)
