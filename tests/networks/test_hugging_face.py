"""Hugging Face classifiers from a local folder: with a fake transformers, and with the real one if installed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from studygroup import UserError
from studygroup.networks import NetworkFactory, extract_features
from studygroup.networks.factory import build_network, check_network, resolve_spec, spec_name
from studygroup.networks.hugging_face import SequenceClassifier
from studygroup.networks.starts import Start, describe_start
from studygroup.pipeline.weights import open_weights

TOKENS = 20
IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0], [0, 0, 0, 0]])


class Body(nn.Module):
    """Mean of embeddings over unmasked positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        assert mask.dtype == torch.int64
        assert mask.sum(1).gt(0).all(), "a softmax of nothing"
        out: Tensor = (self.embedding(ids) * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return out


class Model(nn.Module):
    """A model of the fake transformers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.base_model = Body()
        self.score = nn.Linear(4, config.num_labels)

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.score(self.base_model(input_ids, attention_mask)))


class Logging:
    """A record of the calls."""

    def __init__(self) -> None:
        self.verbosity, self.bar, self.seen = 30, True, list[tuple[int, bool]]()

    def get_verbosity(self) -> int:
        return self.verbosity

    def set_verbosity(self, verbosity: int) -> None:
        self.verbosity = verbosity

    def set_verbosity_error(self) -> None:
        self.verbosity = 40

    def is_progress_bar_enabled(self) -> bool:
        return self.bar

    def disable_progress_bar(self) -> None:
        self.bar = False

    def enable_progress_bar(self) -> None:
        self.bar = True


class Transformers(ModuleType):
    """A fake transformers that checks that nothing is downloaded and no remote code is run."""

    def __init__(self) -> None:
        super().__init__("transformers")
        logging = Logging()
        self.utils = SimpleNamespace(logging=logging)

        class AutoConfig:
            @staticmethod
            def from_pretrained(path: Path, *, num_labels: int, local_files_only: bool, trust_remote_code: bool) -> SimpleNamespace:
                assert local_files_only
                assert trust_remote_code is False
                return SimpleNamespace(**json.loads((path / "config.json").read_text()) | {"num_labels": num_labels})

        class AutoModelForSequenceClassification:
            @staticmethod
            def from_config(config: Any, *, trust_remote_code: bool) -> Model:
                assert trust_remote_code is False
                return Model(config)

            @staticmethod
            def from_pretrained(path: Path, *, config: Any, **options: bool) -> tuple[Model, dict[str, Any]]:
                assert options.pop("trust_remote_code") is False
                assert all(options.values())
                assert set(options) == {"local_files_only", "use_safetensors", "ignore_mismatched_sizes", "output_loading_info"}
                logging.seen.append((logging.verbosity, logging.bar))
                model = Model(config)
                saved = safetensors.torch.load_file(path / "model.safetensors")
                state = model.state_dict()
                fitting = {key: value for key, value in saved.items() if key in state and state[key].shape == value.shape}
                model.load_state_dict(fitting, strict=False)
                odd = [(key, value.shape, state[key].shape) for key, value in saved.items() if key in state and key not in fitting]
                return model.eval(), {"missing_keys": set(state) - set(saved), "mismatched_keys": odd}

        self.AutoConfig, self.AutoModelForSequenceClassification = AutoConfig, AutoModelForSequenceClassification


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> Transformers:
    module = Transformers()
    monkeypatch.setitem(sys.modules, "transformers", module)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trained classifier of three classes."""
    (tmp_path / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    torch.manual_seed(5)
    safetensors.torch.save_file(Model(SimpleNamespace(num_labels=3)).state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def weights(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Return base model and classifier weights of a fake model."""
    assert isinstance(network, SequenceClassifier)
    return network.network.base_model.embedding.weight, network.network.score.weight


@pytest.mark.usefixtures("transformers")
def test_a_sequence_classifier_returns_logits(folder: Path) -> None:
    network = build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    assert network.training
    logits = network(IDS)
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    means = torch.stack([saved["base_model.embedding.weight"][ids].mean(0) for ids in (IDS[0], IDS[1, :2], IDS[2])])
    torch.testing.assert_close(logits, means @ saved["score.weight"].T + saved["score.bias"])
    torch.testing.assert_close(network(nn.functional.pad(IDS, (0, 3))), logits)
    assert extract_features(network, IDS, []).pooled.shape == (3, 4)
    check_network(f"hf:{folder}", IDS, num_classes=3, vocabulary=TOKENS)
    again = build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    again.load_state_dict(network.state_dict())


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("classes", [3, 4])
def test_students_share_pretrained_weights_except_the_classifier(folder: Path, classes: int) -> None:
    """Only the first student has the folder's classifier, if it fits."""
    make = NetworkFactory(f"hf:{folder}", num_classes=classes, vocabulary=TOKENS)
    (body, first), (same, other), (_, third), (_, again) = (weights(make.student(k)) for k in (0, 1, 2, 1))
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    assert torch.equal(body, saved["base_model.embedding.weight"])
    assert torch.equal(same, body)
    assert (classes == 3) == (first.shape == saved["score.weight"].shape and torch.equal(first, saved["score.weight"]))
    assert other.shape == (classes, 4)
    assert not torch.equal(other, third)
    assert torch.equal(other, again)
    if classes == 4:
        assert not torch.equal(first, other)
    assert make.student(1).training


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("classes", [3, 4])
def test_what_students_start_from(folder: Path, classes: int) -> None:
    make = NetworkFactory(f"hf:{folder}", num_classes=classes, vocabulary=TOKENS, start=Start(freeze="all-but-head"))
    first, second = make.student(0), make.student(1)
    whole = f"the weights of hf:{folder}"
    assert (describe_start(first) == whole) == (classes == 3)
    assert describe_start(second).startswith(f"{whole} (")
    assert "initialisation 1 of seed 0 (" in describe_start(second)
    assert not any(parameter.requires_grad for parameter in first.network.base_model.parameters())  # type: ignore[union-attr]
    assert first.network.score.weight.requires_grad  # type: ignore[union-attr]
    same = NetworkFactory(f"hf:{folder}", num_classes=3, vocabulary=TOKENS, start=Start(members="same")).students(2)
    assert describe_start(same[1]) == whole
    assert torch.equal(weights(same[0])[1], weights(same[1])[1])


@pytest.mark.usefixtures("transformers")
def test_weights_of_a_folder_load_into_its_network(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0, "id2label": {"0": "a", "1": "b", "2": "c"}}))
    loaded = open_weights(f"hf:{folder}")
    network = NetworkFactory(f"hf:{folder}", num_classes=3, vocabulary=TOKENS, start=Start({"student1": loaded})).student(1)
    assert torch.equal(weights(network)[1], safetensors.torch.load_file(folder / "model.safetensors")["score.weight"])
    assert describe_start(network) == f"weights of hf:{folder}"
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights to start from; give a folder with model\.safetensors"):
        open_weights(f"hf:{folder}")


@pytest.mark.usefixtures("transformers")
def test_without_weights_all_copies_are_initialised(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    make = NetworkFactory(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    bodies = [weights(make.student(k))[0] for k in (0, 1, 0)]
    assert not torch.equal(bodies[0], bodies[1])
    assert torch.equal(bodies[0], bodies[2])


def test_loading_is_silent_and_restores_the_logger(transformers: Transformers, folder: Path) -> None:
    logging = transformers.utils.logging
    build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    assert logging.seen == [(40, False)]
    assert (logging.verbosity, logging.bar) == (30, True)
    logging.bar = False
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be made"):
        build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    assert (logging.verbosity, logging.bar) == (30, False)


def test_the_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_spec("hf:models/bert", "auto", 32) == f"hf:{tmp_path.resolve()}/models/bert"
    assert spec_name("hf:models/bert") == "hf:models/bert"
    with pytest.raises(UserError, match="hf:models/bert has no stem 'large'"):
        resolve_spec("hf:models/bert", "large", 32)


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:20])


def no_padding(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def of_another(folder: Path) -> None:
    safetensors.torch.save_file({"strange": torch.zeros(2)}, folder / "model.safetensors")


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_config, "config.json; give a folder made by save_pretrained (nothing is downloaded)"),
        (pickled, "has its weights in pytorch_model.bin, which is not supported; save them as model.safetensors"),
        (damaged, "cannot be made for 3 classes ("),
        (no_json, "cannot be made for 3 classes ("),
        (no_padding, "has no padding: pad_token_id is missing in its config.json"),
        (of_another, "belong to a Model; give the folder of another model"),
    ],
)
def test_an_unreadable_folder_is_refused(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("transformers")
def test_data_that_do_not_fit_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="has a vocabulary of 20 tokens, the data 21; use the tokenizer of the same folder"):
        build_network(f"hf:{folder}", num_classes=3, vocabulary=21)
    with pytest.raises(UserError, match="reads texts, but the data are images"):
        build_network(f"hf:{folder}", num_classes=3, in_channels=3)


def test_transformers_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers, which cannot be imported .*pip install 'studygroup\[transformers\]'"):
        build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)


# ---------------------------------------------------------------- the package itself


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Any, Path]:
    """A tiny BERT with three classes, and its folder."""
    real = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 12}
    config = real.BertConfig(vocab_size=TOKENS, pad_token_id=0, num_labels=3, **sizes)
    model = real.BertForSequenceClassification(config).eval()
    with quiet(real):
        model.save_pretrained(tmp_path)
    return model, tmp_path


@contextmanager
def quiet(real: Any) -> Iterator[None]:
    real.utils.logging.disable_progress_bar()
    yield
    real.utils.logging.enable_progress_bar()


@pytest.mark.filterwarnings("ignore")  # of transformers about itself
def test_a_real_classifier(saved: tuple[Any, Path], capfd: pytest.CaptureFixture[str]) -> None:
    model, folder = saved
    capfd.readouterr()
    network = build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS).eval()
    ids = IDS[:2]
    torch.testing.assert_close(network(ids), model(input_ids=ids, attention_mask=(ids != 0).long()).logits)
    torch.testing.assert_close(network(nn.functional.pad(IDS, (0, 5)))[:2], network(IDS)[:2])
    assert network(IDS).isfinite().all()
    with pytest.raises(UserError, match=r"fails on texts of 13 tokens \(.*\); use a smaller max_length, or another network"):
        check_network(f"hf:{folder}", torch.ones(2, 13, dtype=torch.int64), num_classes=3, vocabulary=TOKENS)
    make = NetworkFactory(f"hf:{folder}", num_classes=4, vocabulary=TOKENS)
    states = [make.student(k).state_dict() for k in (0, 1, 1)]
    differ = {key for key, value in states[0].items() if not torch.equal(value, states[1][key])}
    assert differ == {"network.classifier.weight"}
    assert all(torch.equal(value, states[2][key]) for key, value in states[1].items())
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore")
def test_code_in_a_model_folder_is_not_run(saved: tuple[Any, Path]) -> None:
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text(f"open({str(folder / 'it-ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(UserError, match="cannot be made for 3 classes"):
        build_network(f"hf:{folder}", num_classes=3, vocabulary=TOKENS)
    assert not (folder / "it-ran").exists()
