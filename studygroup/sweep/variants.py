"""What is compared: variants, each the words of `studygroup.train` but for the seed, and one of them the baseline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studygroup import config, session
from studygroup.errors import UserError, unknown_name
from studygroup.methods import METHODS, Method, method_options
from studygroup.networks import NETWORKS
from studygroup.networks.factory import is_untrained
from studygroup.parameters import Parameter

OWN = (
    *("methods", "seeds", "options", "variants", "budget", "count_teacher", "score_on_unused", "split_by_seed"),
    *("workers", "ray", "overwrite", "progress", "out"),
)
BASELINE = "baseline"
NAME = re.compile(r"[\w.+-]+")
NOT_A_CELLS = ("data", "seed", "out", "resume", "overwrite", "progress")


@dataclass(frozen=True)
class Variant:
    """What is trained once per seed.

    Attributes:
        name: of the variant, its folders and its row.
        arguments: all words of `studygroup.train` but the seed, the folder and what is about them.
        teacher: the variant whose student of the same seed teaches.
        teaches: whether it is there only because others learn from it.
        split_by_seed: whether each seed divides the data anew.
    """

    name: str
    arguments: Mapping[str, Any]
    teacher: str | None = None
    teaches: bool = False
    split_by_seed: bool = False


def make_variants(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> tuple[list[Variant], str]:
    """The variants, and which of them is the baseline that the others are compared with: the one of that name, or the first that is it.

    Args:
        arguments: of `studygroup.compare`.
        known: the parameters of `studygroup.train`.

    Raises:
        UserError: one of them cannot be trained, as far as its words say.
    """
    words = plain_words(arguments, known)
    given = _given(arguments, known)
    variants = [Variant(name, _arguments(name, variant, words, arguments["options"])) for name, variant in given.items()]
    alone = {**words, "method": BASELINE, "method_options": {}, "teacher": None, "peers": []}
    same = next((variant.name for variant in variants if variant.arguments == alone), BASELINE)
    reference = BASELINE if BASELINE in given else same
    if reference not in given:
        variants.insert(0, Variant(BASELINE, {**alone, "method_options": _options({"method": BASELINE}, words, arguments["options"])}))
    strange = sorted(set(_by_method(arguments["options"])) - {str(variant.arguments["method"]) for variant in variants})
    if strange:
        raise UserError(f"options are given for {strange[0]}, which is not compared; add it to the methods, or leave them out")
    variants = [
        replace(variant, arguments=session.with_defaults(variant.arguments), split_by_seed=arguments["split_by_seed"])
        for variant in _with_teachers(variants, words)
    ]
    for variant in variants:
        _check(variant, variants, arguments["seeds"], named=variant.name in (arguments["variants"] or {}))
    taught = {variant.teacher for variant in variants} - {reference}
    teaches = {variant.name for variant in variants if variant.name in taught and variant.arguments["method"] == BASELINE}
    return [replace(variant, teaches=variant.name in teaches) for variant in variants], reference


def plain_words(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, Any]:
    """The words that all variants share, with the defaults, as plain values, which can be sent to another machine.

    Raises:
        UserError: one is an object of Python.
    """
    defaults = {name: word.default for name, word in known.items() if name not in NOT_A_CELLS}
    words = {name: config.plain(value) for name, value in (defaults | dict(arguments)).items() if name not in OWN}
    for name, value in words.items():
        if isinstance(value, str) and value.startswith(config.FROM_PYTHON):
            raise UserError(f"{name} is a {value}; what is compared is trained by other processes: name it, e.g. package.module:function")
    return words


def _given(arguments: Mapping[str, Any], known: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """What each variant says itself, of the right types."""
    known = {name: word for name, word in known.items() if name not in NOT_A_CELLS}
    given: dict[str, dict[str, Any]] = {}
    for name, variant in (arguments["variants"] or {}).items():
        where = f"variant {name}"
        if not NAME.fullmatch(name):
            raise UserError(f"{where}: its name is to be a folder's: letters, digits, and . + - _")
        if not isinstance(variant, Mapping | None):
            raise UserError(f"{where} is {variant!r}; write the words in which it differs, e.g. {{method: dml, epochs: 50}}")
        given[name] = {}
        for key, value in config.split_method(variant or {}, where).items():
            if key not in known:
                raise UserError(f"{where}: {unknown_name('key', key, known)}")
            try:
                given[name][key] = config.plain(known[key].kind.check(value))
            except ValueError as error:
                raise UserError(f"{where}: {key} is {error}") from None
    for method in arguments["methods"]:
        if not isinstance(method, str):
            raise UserError(f"methods holds {type(method).__name__}; give names of methods, and their options by `options`")
        if method in given:
            raise UserError(f"{method} is given twice; a second variant is a variant of a recipe with a name of its own")
        given[method] = {"method": method}
    if not given:
        raise UserError(f"there is nothing to compare; give --methods, e.g. {','.join(list(METHODS)[:3])}, or a recipe with variants")
    return given


def _arguments(name: str, variant: Mapping[str, Any], words: Mapping[str, Any], options: Mapping[str, object] | None) -> dict[str, Any]:
    """All words of one variant. What all variants share goes only to the methods that take it."""
    method = variant.get("method", words["method"])
    if method is None:
        raise UserError(f"variant {name} names no method; write `method: cgl`, or give one to all variants")
    own = method_options(method)
    inherited = {
        **words,
        "peers": words["peers"] if "students" in own else [],
        "teacher": words["teacher"] if METHODS[method].needs_teacher else None,
    }
    return {**inherited, **variant, "method": method, "method_options": _options({**variant, "method": method}, words, options)}


def _options(variant: Mapping[str, Any], words: Mapping[str, Any], options: Mapping[str, object] | None) -> dict[str, Any]:
    """A variant's options of its method: on top of those for the method in all variants, which go before the recipe's."""
    method = str(variant["method"])
    shared = words.get("method_options") or {} if words["method"] == method else {}
    return {**shared, **_by_method(options).get(method, {}), **(variant.get("method_options") or {})}


def _by_method(options: Mapping[str, object] | None) -> dict[str, dict[str, Any]]:
    """`{"cgl.students": 8}` or `{"cgl": {"students": 8}}` -> the latter."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in (options or {}).items():
        method, dot, option = key.partition(".")
        if dot:
            found.setdefault(method, {})[option] = config.scalar(value) if isinstance(value, str) else config.plain(value)
        elif isinstance(value, Mapping):
            found.setdefault(method, {}).update({str(name): config.plain(item) for name, item in value.items()})
        else:
            raise UserError(f"options: {key}={value} names no option; write METHOD.OPTION=VALUE, e.g. cgl.students=8")
    return found


def _with_teachers(variants: Sequence[Variant], words: Mapping[str, Any]) -> list[Variant]:
    """The variants, those first that teach: a variant by its name, and one more for every network that is to be trained first."""
    names = {variant.name for variant in variants}
    made: dict[str, Variant] = {}
    linked = []
    for variant in variants:
        teacher = variant.arguments["teacher"]
        if isinstance(teacher, str) and teacher not in names and not Path(teacher).is_dir() and _is_network(teacher):
            name = "teacher-" + re.sub(r"[^\w.+-]+", "-", teacher)
            own: dict[str, Any] = {"method": BASELINE, "method_options": {}, "teacher": None, "peers": [], "student": teacher}
            own |= {"epochs": words["teacher_epochs"] or words["epochs"], "microbatches": 1, "learning_rate_scales": None}
            made[name] = Variant(name, {**words, **own})
            teacher = name
        linked.append(replace(variant, teacher=teacher if teacher in names or teacher in made else None))
    every = {variant.name: variant for variant in (*made.values(), *linked)}
    for variant in every.values():
        line = [variant.name]
        while (teacher := every[line[-1]].teacher) is not None:
            if teacher in line:
                raise UserError(f"variant {variant.name} learns from itself ({' from '.join([*line, teacher])}); give it another teacher")
            line.append(teacher)
    teachers = {variant.teacher for variant in linked}
    return sorted(every.values(), key=lambda variant: (variant.teacher is not None, variant.name not in teachers))


def _is_network(name: str) -> bool:
    return is_untrained(name) and (":" in name or name.partition("@")[0] in NETWORKS)


def train_arguments(variant: Variant, variants: Sequence[Variant], seed: int) -> dict[str, Any]:
    """All words of `studygroup.train` but what is about the folder; a teacher that is a variant is given as its network."""
    teacher = variant.arguments["teacher"]
    if variant.teacher is not None:
        teacher = next(other.arguments["student"] for other in variants if other.name == variant.teacher)
    elif isinstance(teacher, str) and "{seed}" in teacher:
        teacher = teacher.replace("{seed}", str(seed))
    scales = variant.arguments["learning_rate_scales"] or {}
    split_seed = variant.arguments["split_seed"] + (seed if variant.split_by_seed else 0)
    own = {"learning_rate_scales": scales, "teacher": teacher, "seed": seed, "split_seed": split_seed, "progress": False}
    return {**variant.arguments, **own}


def _check(variant: Variant, variants: Sequence[Variant], seeds: int, *, named: bool) -> None:
    """Raise UserError if a variant cannot be trained, as far as its words say."""
    try:
        arguments = train_arguments(variant, variants, 0)
        config.validate(arguments)
        given = variant.arguments["teacher"] if variant.teacher is None else None
        if variant.split_by_seed and isinstance(given, str) and Path(given).is_dir():
            raise UserError(
                f"split_by_seed: the teacher {given} has learnt from what other seeds keep for the test; give a network, which is trained "
                "anew for each seed, or a run for each ({seed})"
            )
        method: Method = session.make_method(arguments)
        settings = session.make_settings(arguments)
        for seed in range(seeds):
            session.make_stages(train_arguments(variant, variants, seed), method, settings)
    except UserError as error:
        if not named:
            raise
        raise UserError(f"variant {variant.name}: {error}") from error
