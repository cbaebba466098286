"""Networks from elsewhere, by text: `timm:NAME`, `hf:FOLDER`, and `package.module:function` for whatever can be imported."""

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

TIMM = "timm:"
FOREIGN = ("*.bin", "*.bin.index.json", "*.h5", "*.msgpack")  # formats of weights that are not read


def function(text: str) -> Callable[..., nn.Module]:
    """What makes the network that a text with a colon names: a function or class, to be called with what it has arguments for.

    Raises:
        UserError: it cannot be imported, or is nothing that can be called.
    """
    if text.startswith(TIMM):
        return partial(from_timm, text.removeprefix(TIMM))
    if text.startswith(HUGGING_FACE):
        return partial(from_hugging_face, text.removeprefix(HUGGING_FACE))
    package, _, name = text.partition(":")
    try:
        found: Any = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot import the network {text!r} ({error}); write package.module:function of something importable") from error
    if not callable(found):
        raise UserError(f"{text!r} is a {type(found).__name__}; it must be a function or class that makes a torch.nn.Module")
    made: Callable[..., nn.Module] = found
    return made


def from_timm(name: str, num_classes: int, in_channels: int) -> nn.Module:
    """A freshly initialised model of timm (PyTorch Image Models), which is an optional extra of this package.

    Args:
        name: one of `timm.list_models()`.
        num_classes: C.
        in_channels: channels of the images.

    Raises:
        UserError: timm is not there, does not know the model (the nearest are offered), or cannot make it like this.
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
            f"timm cannot make {name} for {in_channels} channels and {num_classes} classes ({one_line(error)}); take another"
        ) from error
    return network


class SequenceClassifier(nn.Module):
    """A classifier of Hugging Face's transformers as a network of ids (B, T) -> logits (B, C).

    Attributes:
        network: the model, `AutoModelForSequenceClassification`.
        pad: the id that stands where there is no text.
    """

    def __init__(self, network: Any, pad: int) -> None:
        """Args: network: the model. pad: id of its padding."""
        super().__init__()
        self.network: Any = network
        self.pad = pad

    def forward(self, ids: Tensor) -> Tensor:
        """Args: ids: (B, T) int64, padded at the end. Returns: (B, C)."""
        mask = ids != self.pad
        mask = mask | ~mask.any(1, keepdim=True)  # an empty text reads its padding: no softmax of nothing
        logits: Tensor = self.network(input_ids=ids, attention_mask=mask.to(ids.dtype)).logits
        return logits

    def renew(self) -> None:
        """Initialise all but the body anew, from the current random state: what reads its vectors, and is made for a data set."""
        fresh = type(self.network)(self.network.config)
        fresh.base_model.load_state_dict(self.network.base_model.state_dict())
        self.network = fresh.train(self.network.training)


def from_hugging_face(folder: str, num_classes: int, vocabulary: int) -> SequenceClassifier:
    """A sequence classifier of transformers, an optional extra of this package, from a local folder.

    Its weights are those of the folder, as far as they fit: what is made for another number of classes, or missing, as the classifier
    is in a language model, is initialised anew. All of it is, if the folder has a configuration and no weights. Nothing is downloaded,
    no code that comes with a model is run, and weights are read from safetensors only.

    Args:
        folder: made by `save_pretrained`, with `config.json` and `model.safetensors`.
        num_classes: C.
        vocabulary: number of ids that the data have.

    Raises:
        UserError: transformers is not there, the folder is none of a model, has weights in another format, or a model that does not fit.
    """
    name = f"{HUGGING_FACE}{folder}"
    try:
        transformers: Any = importlib.import_module("transformers")
        auto = transformers.AutoModelForSequenceClassification
    except (ImportError, RuntimeError, AttributeError) as error:
        raise UserError(f"{name} needs transformers, which cannot be imported ({one_line(error)}); pip install transformers") from error
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise UserError(f"{name}: there is no {path / 'config.json'}; give a folder made by save_pretrained, nothing is downloaded")
    weights = any((path / file).is_file() for file in ("model.safetensors", "model.safetensors.index.json"))
    if not weights and (others := sorted(file.name for kind in FOREIGN for file in path.glob(kind))):
        raise UserError(f"{name} has its weights in {others[0]}, which is not read; save them as model.safetensors")
    own = {"local_files_only": True, "trust_remote_code": False}
    loaded: Any = {}
    try:
        with _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(path, num_labels=num_classes, **own)
            if weights:
                safe = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
                network, loaded = auto.from_pretrained(path, config=config, **safe, **own)
            else:
                network = auto.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever transformers and safetensors make of a damaged or strange folder
        raise UserError(f"{name} cannot be made for {num_classes} classes ({one_line(error)}); give the folder of another model") from error
    missing = {*loaded.get("missing_keys", ()), *(key for key, *_ in loaded.get("mismatched_keys", ()))}
    if missing and missing >= set(dict(network.named_parameters())):
        raise UserError(f"none of the weights in {path} are those of a {type(network).__name__}; give the folder of another model")
    pad, known = getattr(config, "pad_token_id", None), network.get_input_embeddings().num_embeddings
    if pad is None:
        raise UserError(
            f"{name} has no padding: pad_token_id is missing in its config.json; write there the id that its tokenizer pads with"
        )
    if known < vocabulary:
        raise UserError(f"{name} knows {known} tokens, and the data have {vocabulary}; give the data the tokenizer of its own folder")
    return SequenceClassifier(network.float().train(), pad)


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar for every copy of a model, and no table of the weights that are initialised anew: that they are is documented."""
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
