"""Sequence classifiers of Hugging Face transformers: `hf:FOLDER`.

Classes are matched by name: `id2label` of the model and the names of the data's classes. Names are compared exactly first; if the two sets
differ, without case and surrounding spaces, provided that no two names of a set become equal.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from studygroup.errors import UserError, one_line
from studygroup.networks.registry import HUGGING_FACE

CONFIG = "config.json"
UNSUPPORTED = ("*.bin", "*.bin.index.json", "*.h5", "*.msgpack")  # formats of weights
UNNAMED = re.compile(r"LABEL_\d+")  # the names that transformers gives to classes without names


class SequenceClassifier(nn.Module):
    """A Hugging Face sequence classifier as a network of token ids (B, T) -> logits (B, C).

    Attributes:
        network: an `AutoModelForSequenceClassification`.
        pad: token id of padding.
        notes: a line for each thing that the user should know about how the model was loaded.
        new: names in the `state_dict` of the parameters that are not from a training.
    """

    def __init__(self, network: Any, pad: int, notes: Sequence[str] = (), new: Collection[str] = ()) -> None:
        """Args: network, pad, notes, new: see above."""
        super().__init__()
        self.new = frozenset(new)
        self.network: Any = network
        self.pad = pad
        self.notes = tuple(notes)

    def forward(self, ids: Tensor) -> Tensor:
        """Args: ids: (B, T) int64, padded at the end. Returns: (B, C)."""
        mask = ids != self.pad
        mask = mask | ~mask.any(1, keepdim=True)  # an empty text attends to padding, for the softmax needs a position
        logits: Tensor = self.network(input_ids=ids, attention_mask=mask.to(ids.dtype)).logits
        return logits

    def reinitialise(self) -> None:
        """Reinitialise all but the base model (pooler and classifier), from torch's current random state."""
        fresh = type(self.network)(self.network.config)
        fresh.base_model.load_state_dict(self.network.base_model.state_dict())
        self.network = fresh.train(self.network.training)
        self.new |= self.head_names()

    def head_names(self) -> set[str]:
        """Return the names in the `state_dict` of what is not the base model: pooler and classifier."""
        return {name for name, parameter in self.named_parameters() if name.removeprefix("network.") not in _base_parameters(self.network)}

    def config_json(self) -> str:
        """Return the content of `config.json`, from which the network can be made again."""
        return str(self.network.config.to_json_string())

    def save_pretrained(self, folder: Path, classes: Sequence[str]) -> None:
        """Write `config.json` and `model.safetensors` for `AutoModelForSequenceClassification.from_pretrained`.

        Args:
            folder: created if needed.
            classes: names of the C classes, for `id2label` and `label2id`.
        """
        _name_classes(self.network.config, classes)
        with _quiet(importlib.import_module("transformers")):
            self.network.save_pretrained(folder)


def from_hugging_face(
    folder: str, num_classes: int, vocabulary: int, *, classes: Sequence[str] | None = None, is_teacher: bool = False
) -> SequenceClassifier:
    """Load a sequence classifier of Hugging Face transformers from a local folder.

    Weights that are missing (e.g. the classifier of a language model) or made for another number of classes are initialised; so are all
    weights, if the folder has none. Nothing is downloaded, no code of the model is run, and weights are read from safetensors only.

    Args:
        folder: made by `save_pretrained`, with `config.json` and `model.safetensors`.
        num_classes: C.
        vocabulary: vocabulary size of the data.
        classes: names of the C classes of the data, in whose order the logits are put; None keeps the model's order.
        is_teacher: refuse a model of which any weights would be initialised.

    Raises:
        UserError: transformers is not installed, the folder has no model or weights in another format, the model does not fit, its classes
            are others than the data's, or it is a teacher without a trained classifier for C classes.
    """
    name, path = f"{HUGGING_FACE}{folder}", Path(folder).expanduser()
    network, initialised, new = _load(name, path, num_classes)
    config = network.config
    pad, model_vocabulary = getattr(config, "pad_token_id", None), network.get_input_embeddings().num_embeddings
    if pad is None:
        raise UserError(f"{name} has no padding: pad_token_id is missing in its {CONFIG}; add the id that its tokenizer pads with")
    if model_vocabulary < vocabulary:
        raise UserError(
            f"{name} has a vocabulary of {model_vocabulary} tokens, the data {vocabulary}; use the tokenizer of the same folder"
        )
    if initialised is not None and is_teacher:
        raise UserError(
            f"the teacher {name} has no trained classifier for {num_classes} classes ({initialised}); "
            "give one that was fine-tuned on the classes of the data"
        )
    classifier = SequenceClassifier(network.float().train(), pad, new={f"network.{key}" for key in new})
    names = _names_in(path / CONFIG)
    if initialised is not None:
        classifier.notes = (f"{name} for {num_classes} classes: {initialised}",)
    elif classes is not None:
        if (order := _find_order(name, path / CONFIG, names, classes)) is not None:
            _reorder(classifier, order, name)
        else:
            classifier.notes = (
                f"{name} has no names of classes (id2label in its {CONFIG}): their order is assumed to be the data's, {_listed(classes)}",
            )
    if classes is not None:
        _name_classes(config, classes)
    return classifier


def pretrained_weights(folder: str) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Read the weights of a sequence classifier in a folder, with the names of a `SequenceClassifier`, and the names of its classes.

    Raises:
        UserError: transformers is not installed, or the folder has no trained model in a supported format.
    """
    name, path = f"{HUGGING_FACE}{folder}", Path(folder).expanduser()
    classes = _names_in(path / CONFIG)
    network, initialised, _ = _load(name, path, len(classes) if classes else 2)
    if not _has_weights(path):
        raise UserError(f"{name} has no weights to start from; give a folder with model.safetensors")
    kept = _base_parameters(network) if initialised is not None else network.state_dict()  # a head that is not whole is left out
    tensors = {f"network.{key}": value for key, value in network.state_dict().items() if key in kept}
    return tensors, tuple(classes) if classes and initialised is None else None


def open_pretrained(folder: Path) -> SequenceClassifier:
    """Open a folder that `SequenceClassifier.save_pretrained` wrote as any user of transformers does, in eval mode.

    Raises:
        UserError: the weights in it are not those of the model that its configuration describes.
    """
    transformers: Any = importlib.import_module("transformers")
    offline = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(transformers):
        network, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **offline
        )
    if other := sorted({*loaded["missing_keys"], *loaded["unexpected_keys"]}):
        raise UserError(f"the weights in {folder} are of another model than its {CONFIG} describes ({other[0]}); restore the folder")
    return SequenceClassifier(network.eval(), network.config.pad_token_id)


def _load(name: str, path: Path, num_classes: int) -> tuple[Any, str | None, set[str]]:
    """Load the model of a folder; return it, a description of the weights that were initialised (None if all were loaded), and their names.

    Raises:
        UserError: see `from_hugging_face`.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
        auto = transformers.AutoModelForSequenceClassification
    except (ImportError, RuntimeError, AttributeError) as error:
        raise UserError(
            f"{name} needs transformers, which cannot be imported ({one_line(error)}); pip install 'studygroup[transformers]'"
        ) from error
    if not (path / CONFIG).is_file():
        raise UserError(f"{name}: there is no {path / CONFIG}; give a folder made by save_pretrained (nothing is downloaded)")
    weights = _has_weights(path)
    if not weights and (others := sorted(file.name for kind in UNSUPPORTED for file in path.glob(kind))):
        raise UserError(f"{name} has its weights in {others[0]}, which is not supported; save them as model.safetensors")
    _names_in(path / CONFIG)  # before transformers fails on them
    offline = {"local_files_only": True, "trust_remote_code": False}
    loaded: Any = {}
    try:
        with _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(path, num_labels=num_classes, **offline)
            if weights:
                safe = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
                network, loaded = auto.from_pretrained(path, config=config, **safe, **offline)
            else:
                network = auto.from_config(config, trust_remote_code=False)
    except Exception as error:  # anything that transformers and safetensors raise for a damaged folder
        raise UserError(f"{name} cannot be made for {num_classes} classes ({one_line(error)}); give the folder of another model") from error
    if not weights:
        return network, "the folder has no weights, so all are newly initialised", set(network.state_dict())
    mismatched = {key for key, *_ in loaded.get("mismatched_keys", ())}
    new = {*loaded.get("missing_keys", ()), *mismatched}
    if new and new >= set(dict(network.named_parameters())):
        raise UserError(f"none of the weights in {path} belong to a {type(network).__name__}; give the folder of another model")
    if misfits := sorted(mismatched & _base_parameters(network)):
        raise UserError(f"{name}: {misfits[0]} in its weights has another shape than {CONFIG} says; restore the folder")
    reason = "made for another number of classes" if mismatched else "missing in the folder"
    return network, f"newly initialised, as {reason}: {', '.join(sorted(new))}" if new else None, new


def _has_weights(path: Path) -> bool:
    return any((path / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json"))


def match_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """Return the position in `theirs` of each name in `ours`; None if the two are not the same set of names (see the module)."""
    for key in (str, _folded):
        positions = {key(name): position for position, name in enumerate(theirs)}
        wanted = [key(name) for name in ours]
        if len(positions) == len(theirs) and len(set(wanted)) == len(wanted) and positions.keys() == set(wanted):
            return [positions[name] for name in wanted]
    return None


def _folded(name: str) -> str:
    return name.strip().casefold()


def _names_in(config: Path) -> list[str] | None:
    """Return the names of the classes in a `config.json`; None if there are none, or the file is no JSON, which transformers reports.

    Raises:
        UserError: `id2label` does not map 0, 1, ... to different names.
    """
    try:
        found = json.loads(config.read_text(encoding="utf-8")).get("id2label")
    except (OSError, ValueError, AttributeError):
        return None
    if found is None:
        return None
    given = [found.get(str(number)) for number in range(len(found))] if isinstance(found, dict) else []
    names = [name for name in given if isinstance(name, str)]
    if not given or len(set(names)) < len(given):
        raise UserError(
            f"id2label in {config} is {' '.join(str(found).split())[:60]}; it must map 0, 1, ... to different names, "
            'as in {"0": "no", "1": "yes"}'
        )
    return names


def _find_order(name: str, config: Path, theirs: Sequence[str] | None, ours: Sequence[str]) -> list[int] | None:
    """Return the model's position of each class of the data; None if the model's classes have no names.

    Raises:
        UserError: the names differ.
    """
    order = None if theirs is None else match_classes(theirs, ours)
    if theirs is None or (order is None and all(UNNAMED.fullmatch(label) for label in theirs)):
        return None
    if order is None:
        missing, extra = _difference(ours, theirs), _difference(theirs, ours)
        raise UserError(
            f"{name} has other classes than the data: missing are {_listed(missing)}, extra are {_listed(extra)}; if they are the same "
            f"classes, correct id2label in {config}; for a new classifier give a folder with the base model alone"
        )
    return order


def _difference(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the names that are not among the others, whatever their case; if there are none, those that are spelled differently."""
    known = set(map(_folded, others))
    return [name for name in names if _folded(name) not in known] or [name for name in names if name not in others]


def _listed(names: Sequence[str], limit: int = 5) -> str:
    """Join the first names for a message."""
    return (", ".join(map(repr, names[:limit])) or "none") + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _base_parameters(network: Any) -> set[str]:
    """Return the names of the parameters of the base model."""
    if network.base_model is network:  # it has no separate base model
        return set()
    base = set(map(id, network.base_model.parameters()))
    return {name for name, parameter in network.named_parameters() if id(parameter) in base}


@torch.no_grad()
def _reorder(classifier: SequenceClassifier, order: Sequence[int], name: str) -> None:
    """Permute the rows of the output layer, so that logit `i` becomes the former logit `order[i]`; a forward pass checks it.

    Raises:
        UserError: no layer was found whose rows are the logits.
    """
    if list(order) == list(range(len(order))):
        return
    base = _base_parameters(classifier.network)
    linear = {f"{key}.weight": module for key, module in classifier.network.named_modules() if isinstance(module, nn.Linear)}
    layers = [module for key, module in linear.items() if key not in base and module.out_features == len(order)]
    example, rows = torch.arange(4).unsqueeze(0), torch.tensor(order)
    before = classifier.eval()(example)
    for layer in layers[-1:]:
        for parameter in layer.parameters():
            parameter.copy_(parameter[rows])
        if torch.allclose(classifier(example), before[:, rows], rtol=1e-3, atol=1e-5):
            classifier.train()
            return
    raise UserError(
        f"{name} has its classes in another order than the data, and its output layer was not found; save it in the data's order"
    )


def _name_classes(config: Any, classes: Sequence[str]) -> None:
    """Set the names of the classes in a configuration."""
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: number for number, name in enumerate(classes)}


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence the progress bar of each copy of a model and the list of weights that are initialised, which is documented."""
    logging = transformers.utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
