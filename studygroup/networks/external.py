"""Networks of other packages: `timm:NAME`, `hf:FOLDER` and `package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from studygroup.errors import UserError, one_line, unknown_name
from studygroup.networks.registry import HUGGING_FACE
from studygroup.registry import import_object

TIMM = "timm:"
UNSUPPORTED = ("*.bin", "*.bin.index.json", "*.h5", "*.msgpack")  # formats of weights


def import_factory(name: str) -> Callable[..., object]:
    """Return the function or class that makes the network called `timm:NAME`, `hf:FOLDER` or `package.module:function`.

    Raises:
        UserError: it cannot be imported, or is not callable.
    """
    if name.startswith(TIMM):
        return partial(from_timm, name.removeprefix(TIMM))
    if name.startswith(HUGGING_FACE):
        return partial(from_hugging_face, name.removeprefix(HUGGING_FACE))
    factory = import_object(name, "network")
    if not callable(factory):
        raise UserError(f"{name!r} is a {type(factory).__name__}; it must be a function or class that makes a torch.nn.Module")
    return factory


def from_timm(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """Make a freshly initialised model of timm (PyTorch Image Models).

    Args:
        name: one of `timm.list_models()`.
        num_classes: C.
        in_channels: channels of the images.

    Raises:
        UserError: timm is not installed, does not know the model (the nearest are offered), or cannot make it with these arguments.
    """
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit the torch
        raise UserError(f"timm:{name} needs timm, which cannot be imported ({one_line(error)}); pip install timm") from error
    if not timm.is_model(name):
        raise unknown_name("model of timm", name, timm.list_models())
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, in_chans=in_channels)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(
            f"timm cannot make {name} for {in_channels} channels and {num_classes} classes ({one_line(error)}); use another model"
        ) from error
    return network


class SequenceClassifier(nn.Module):
    """A Hugging Face sequence classifier as a network of token ids (B, T) -> logits (B, C).

    Attributes:
        network: an `AutoModelForSequenceClassification`.
        pad: token id of padding.
    """

    def __init__(self, network: Any, pad: int) -> None:
        """Args: network, pad: see above."""
        super().__init__()
        self.network: Any = network
        self.pad = pad

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


def from_hugging_face(folder: str, num_classes: int, vocabulary: int) -> SequenceClassifier:
    """Load a sequence classifier of Hugging Face transformers from a local folder.

    Weights that are missing (e.g. the classifier of a language model) or made for another number of classes are initialised; so are all
    weights, if the folder has none. Nothing is downloaded, no code of the model is run, and weights are read from safetensors only.

    Args:
        folder: made by `save_pretrained`, with `config.json` and `model.safetensors`.
        num_classes: C.
        vocabulary: vocabulary size of the data.

    Raises:
        UserError: transformers is not installed, the folder has no model or weights in another format, or the model does not fit.
    """
    name = f"{HUGGING_FACE}{folder}"
    try:
        transformers: Any = importlib.import_module("transformers")
        auto = transformers.AutoModelForSequenceClassification
    except (ImportError, RuntimeError, AttributeError) as error:
        raise UserError(f"{name} needs transformers, which cannot be imported ({one_line(error)}); pip install transformers") from error
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise UserError(f"{name}: there is no {path / 'config.json'}; give a folder made by save_pretrained (nothing is downloaded)")
    weights = any((path / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json"))
    if not weights and (others := sorted(file.name for kind in UNSUPPORTED for file in path.glob(kind))):
        raise UserError(f"{name} has its weights in {others[0]}, which is not supported; save them as model.safetensors")
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
    missing = {*loaded.get("missing_keys", ()), *(key for key, *_ in loaded.get("mismatched_keys", ()))}
    if missing and missing >= set(dict(network.named_parameters())):
        raise UserError(f"none of the weights in {path} belong to a {type(network).__name__}; give the folder of another model")
    pad, model_vocabulary = getattr(config, "pad_token_id", None), network.get_input_embeddings().num_embeddings
    if pad is None:
        raise UserError(f"{name} has no padding: pad_token_id is missing in its config.json; add the id that its tokenizer pads with")
    if model_vocabulary < vocabulary:
        raise UserError(
            f"{name} has a vocabulary of {model_vocabulary} tokens, the data {vocabulary}; use the tokenizer of the same folder"
        )
    return SequenceClassifier(network.float().train(), pad)


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
