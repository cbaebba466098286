"""Methods with one frozen teacher whose features are watched: their losses, what they train, and which networks they take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studygroup.batch import Batch
from studygroup.clock import Clock
from studygroup.errors import UserError
from studygroup.losses import cross_entropy, soft_kl
from studygroup.methods import METHODS, create_method
from studygroup.methods.logit_losses import ComparesLogits
from studygroup.methods.one_teacher import OneTeacher
from studygroup.networks import Chain, NetworkFactory, create, head_of
from studygroup.networks.chain import Pool
from studygroup.networks.factory import Spec
from studygroup.parameters import parameters_of
from studygroup.training.settings import Settings
from studygroup.training.updater import check_batches
from tests.methods.tiny import CLASSES, Plain, batch_for, layer, maker, optimizer_of, tiny, train, trained_teacher, wider

TABLE = {
    "fitnet": 100.0,
    "at": 1000.0,
    "sp": 3000.0,
    "cc": 0.02,
    "vid": 1.0,
    "rkd": 1.0,
    "pkt": 30000.0,
    "nst": 50.0,
    "crd": 0.8,
    "srrl": 1.0,
}
OF_MAPS = ("fitnet", "at", "sp", "vid", "nst")
POOLED = ("cc", "rkd", "pkt", "crd")
TRAINED = {
    "fitnet": {"regressors"},
    "cc": {"student_embeddings", "teacher_embeddings"},
    "vid": {"regressors"},
    "crd": {"student_embedding", "teacher_embedding"},
    "srrl": {"projection"},
}
every_one = pytest.mark.parametrize("name", TABLE)


def built_method(name: str, spec: Spec = tiny, teacher: nn.Module | None = None, **options: Any) -> OneTeacher:
    if name == "crd":
        options.setdefault("negatives", 5)
    method = create_method(name, options)
    assert isinstance(method, OneTeacher)
    method.build(maker(spec, teacher=teacher if teacher is not None else trained_teacher()))
    return method.train()


def losses_of(method: OneTeacher, number: int = 0) -> dict[str, Tensor]:
    (losses,) = method.step(batch_for(method, number), Clock())
    return losses


def feature_loss(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for key, value in losses.items() if key.split("/")[1] not in ("cross_entropy", "distillation")]).sum()


def test_all_one_teacher_methods_are_tested() -> None:
    assert {name for name, method in METHODS.items() if issubclass(method, OneTeacher)} >= set(TABLE)


@every_one
def test_defaults_are_those_of_the_benchmark(name: str) -> None:
    options = create_method(name).options()
    assert options["weight"] == TABLE[name]
    assert (options["label_weight"], options["kd_weight"], options["temperature"]) == (1.0, 0.0, 4.0)
    common = {"weight", "label_weight", "kd_weight", "temperature", *parameters_of(ComparesLogits)}
    own = {option: value for option, value in options.items() if option not in common}
    assert {option: value for option, value in own.items() if not option.endswith("_layers")} == {
        "cc": {"dimensions": 128},
        "rkd": {"distance_weight": 25.0, "angle_weight": 50.0},
        "crd": {"negatives": 16384, "dimensions": 128, "contrast_temperature": 0.07, "momentum": 0.5},
        "srrl": {"matching_weight": 1.0},
    }.get(name, {})


# ---------------------------------------------------------------- the losses, by the formulas


def stages(network: nn.Module, x: Tensor) -> list[Tensor]:
    """f0, f1, ..., the pooled feature, of a chain as `tiny` or `wider`."""
    assert isinstance(network, Chain)
    found = []
    for stage, names in network.stages.items():
        for block in names[:-1] if stage == "head" else names:
            x = network.blocks()[block](x)
        found.append(x)
    return found


def normalised(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def fitnet(method: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    r = method.regressors[0]
    x = F.conv2d(s[2], r.conv.weight, r.conv.bias)
    x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    hint: Tensor = ((x.relu() - t[2]) ** 2).mean()
    return hint


def at(_: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    def a(x: Tensor) -> Tensor:
        return normalised((x**2).mean(1).flatten(1))

    return sum((((a(x) - a(y)) ** 2).mean() for x, y in zip(s[1:3], t[1:3], strict=True)), torch.tensor(0.0))


def sp(_: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    x, y = (normalised(f[2].flatten(1) @ f[2].flatten(1).T) for f in (s, t))
    return ((x - y) ** 2).sum() / len(x) ** 2


def cc(method: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    d = (method.student_embeddings[0].linear(s[-1]) - method.teacher_embeddings[0].linear(t[-1])).abs()
    return torch.stack([(d[i] * d[i + 1]).sum() for i in range(len(d) - 1)]).mean()


def vid(method: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    total = torch.tensor(0.0)
    for r, x, y in zip(method.regressors, s[1:3], t[1:3], strict=True):
        v = ((r.log_scale.exp() + 1).log() + 1e-5)[:, None, None]
        assert torch.allclose(v, torch.tensor(5.0))
        total = total + (0.5 * ((r.mean(x) - y) ** 2 / v + v.log())).mean()
    return total


def rkd(_: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    def structure(f: Tensor) -> tuple[Tensor, Tensor]:
        n = len(f)
        p = torch.stack([torch.stack([(f[i] - f[j]).norm() if i != j else f[0].sum() * 0 for j in range(n)]) for i in range(n)])
        way = [[normalised(f[j] - f[i]) if i != j else f[0] * 0 for j in range(n)] for i in range(n)]
        c = torch.stack([torch.stack([torch.stack([way[i][j] @ way[i][k] for k in range(n)]) for j in range(n)]) for i in range(n)])
        return p / (p.sum() / (n * n - n)), c

    (p, c), (q, d) = structure(s[-1]), structure(t[-1])
    return 25 * F.smooth_l1_loss(p, q) + 50 * F.smooth_l1_loss(c, d)


def pkt(_: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    def neighbours(f: Tensor) -> Tensor:
        k = (normalised(f) @ normalised(f).T + 1) / 2
        return k / k.sum(1, keepdim=True)

    p, q = neighbours(s[-1]), neighbours(t[-1])
    return (q * (q / p).log()).mean()


def nst(_: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    def k(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([(a @ b) ** 2 for i in range(len(x)) for a in x[i] for b in y[i]]).mean()

    total = torch.tensor(0.0)
    for x, y in zip(s[1:3], t[1:3], strict=True):
        a, b = normalised(x.flatten(2)), normalised(y.flatten(2))
        total = total + k(a, a) - 2 * k(a, b) + k(b, b)
    return total


def srrl(method: Any, s: list[Tensor], t: list[Tensor]) -> Tensor:
    teacher = method.teacher.network
    x = F.conv2d(s[2], method.projection[0].weight)
    x = ((x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()).relu()
    pooled = x.mean((2, 3))
    regression: Tensor = ((teacher.classifier(pooled) - teacher.classifier(t[-1])) ** 2).mean()
    return ((pooled - t[-1]) ** 2).mean() + regression


FORMULAS: dict[str, Callable[[Any, list[Tensor], list[Tensor]], Tensor]] = {
    "fitnet": fitnet,
    "at": at,
    "sp": sp,
    "cc": cc,
    "vid": vid,
    "rkd": rkd,
    "pkt": pkt,
    "nst": nst,
    "srrl": srrl,
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("kd", [0.0, 0.7])
def test_losses_against_the_formula(name: str, kd: float) -> None:
    method = built_method(name, kd_weight=kd, label_weight=0.3, temperature=3.0)
    student, teacher = method.export("student0").train(), copy.deepcopy(method.teacher.network).eval()
    batch = batch_for(method)
    with torch.no_grad():
        s, t = stages(student, batch.inputs), stages(teacher, batch.inputs)
        expected = FORMULAS[name](copy.deepcopy(method), s, t) * TABLE[name]
        z, z_t = student.classifier(s[-1]), teacher.classifier(t[-1])  # type: ignore[operator]
    losses = losses_of(method)
    torch.testing.assert_close(feature_loss(losses), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["student0/cross_entropy"], 0.3 * cross_entropy(z, batch.labels))
    assert ("student0/distillation" in losses) == (kd > 0)
    if kd:
        torch.testing.assert_close(losses["student0/distillation"], kd * soft_kl(z, z_t, 3.0))


@every_one
def test_a_weight_is_a_factor(name: str) -> None:
    one, two = (feature_loss(losses_of(built_method(name, weight=weight))) for weight in (0.5, 1.5))
    other = losses_of(built_method(name, weight=0.5)).get("student0/matching", torch.zeros(()))  # srrl's other weight
    torch.testing.assert_close(two - other, 3 * (one - other))


# ---------------------------------------------------------------- what learns, and how often networks run


@every_one
def test_feature_losses_train_the_student_and_the_connector(name: str) -> None:
    method = built_method(name)
    feature_loss(losses_of(method)).backward()
    assert {key.split(".")[0] for key, p in method.named_parameters() if p.grad is not None and p.grad.any()} == {
        "group",
        *TRAINED.get(name, ()),
    }
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert method.group[0].get_parameter("stem.0.weight").grad is not None, "down to the first layer"


@every_one
def test_each_network_runs_once(name: str) -> None:
    method = built_method(name, kd_weight=1.0)
    runs: list[tuple[str, bool, bool]] = []
    for whose, network in (("student", method.group[0]), ("teacher", method.teacher.network)):
        network.register_forward_hook(lambda module, args, out, whose=whose: runs.append((whose, module.training, out.requires_grad)))
    losses_of(method)
    assert runs == [("student", True, True), ("teacher", False, False)]


@every_one
def test_connectors_depend_on_the_seed_only(name: str) -> None:
    def weights(**options: Any) -> dict[str, Tensor]:
        return {key: value for key, value in built_method(name, **options).state_dict().items() if not key.startswith("teacher.")}

    torch.manual_seed(1)
    first = weights()
    torch.manual_seed(2)
    assert all(torch.equal(value, first[key]) for key, value in weights(kd_weight=1.0).items())
    plain = create_method("baseline")
    plain.build(maker())
    for key, value in plain.state_dict().items():
        assert torch.equal(first[key], value), "the student starts as it does alone"


# ---------------------------------------------------------------- other pairs of networks


def strided(num_classes: int = CLASSES, in_channels: int = 1) -> Chain:
    """As many stages as `tiny`, with other widths and maps half as large."""
    return Chain(
        {
            "stem": {"stem": layer(in_channels, 6, 2)},
            "stage1": {"first": layer(6, 10)},
            "stage2": {"second": layer(10, 12, 2), "third": layer(12, 5)},
            "head": {"pool": Pool(), "classifier": nn.Linear(5, num_classes)},
        }
    )


@every_one
@pytest.mark.parametrize(("student", "teacher"), [(strided, wider), (tiny, strided)])
def test_widths_and_sizes_may_differ(name: str, student: Spec, teacher: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    method = built_method(name, student, teacher())
    found = train(method, optimizer_of(method), range(2))
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in found)
    assert method.export("student0").state_dict().keys() == student().state_dict().keys()  # type: ignore[operator]


@pytest.mark.parametrize("name", [*OF_MAPS, "srrl"])
@pytest.mark.parametrize("spec", [Plain, Plain()])
def test_a_student_that_is_no_chain_uses_named_layers(name: str, spec: Spec) -> None:
    others: dict[str, Any] = {} if name == "srrl" else {"teacher_layers": ("stage1",)}
    method = built_method(name, spec, student_layers=("body",), **others)
    feature_loss(losses_of(method)).backward()
    assert method.group[0].get_parameter("body.0.weight").grad is not None
    with pytest.raises(UserError, match=r"student_layers: Plain is no chain of blocks"):
        built_method(name, spec)
    with pytest.raises(UserError, match=r"student_layers: unknown module of Plain 'bodi'; did you mean body"):
        built_method(name, spec, student_layers=("bodi",), **others)


@pytest.mark.parametrize("name", OF_MAPS)
def test_a_teacher_that_is_no_chain_uses_named_layers(name: str) -> None:
    losses = losses_of(built_method(name, tiny, Plain(), student_layers=("stem",), teacher_layers=("body",)))
    assert torch.isfinite(feature_loss(losses))
    with pytest.raises(UserError, match=r"teacher_layers: Plain is no chain of blocks"):
        built_method(name, tiny, Plain())


class Convolutional(nn.Module):
    """A network that ends in a convolution: nobody can tell by itself what its pooled feature is."""

    def __init__(self, num_classes: int = CLASSES, in_channels: int = 1) -> None:
        super().__init__()
        self.body = layer(in_channels, 5)
        self.pool = Pool()
        self.head = nn.Conv2d(5, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.pool(self.body(x))[:, :, None, None]).flatten(1)
        return out


@pytest.mark.parametrize("name", POOLED)
def test_pooled_features_of_any_network(name: str) -> None:
    assert torch.isfinite(feature_loss(losses_of(built_method(name, Plain, Plain()))))
    with pytest.raises(UserError, match=r"student_layers: the pooled feature of Convolutional is not known.*name the module that takes it"):
        built_method(name, Convolutional)
    named: dict[str, Any] = {"student_layers": ("pool",), "teacher_layers": ("pool",)}
    found = feature_loss(losses_of(built_method(name, Convolutional, **named)))
    assert torch.isfinite(found)
    given, default = (feature_loss(losses_of(built_method(name, **options))) for options in (named, dict[str, Any]()))
    torch.testing.assert_close(given, default)  # a chain's pool gives what its classifier takes


@pytest.mark.parametrize("name", OF_MAPS)
def test_maps_are_enough(name: str) -> None:
    assert torch.isfinite(
        feature_loss(losses_of(built_method(name, Convolutional, student_layers=("body",), teacher_layers=("stage1",))))
    ), "nobody asks for the pooled feature"


@pytest.mark.parametrize("name", ["fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "nst"])
def test_terms_of_several_places_are_added_up(name: str) -> None:
    def found(*feature_layers: str) -> tuple[OneTeacher, Tensor]:
        method = built_method(name, student_layers=feature_layers, teacher_layers=feature_layers)
        return method, feature_loss(losses_of(method))

    (one, first), (other, second), (both, total) = found("stem"), found("stage1"), found("stem", "stage1")
    if name not in TRAINED:
        torch.testing.assert_close(total, first + second)
    for kept in TRAINED.get(name, ()):
        assert (len(getattr(one, kept)), len(getattr(other, kept)), len(getattr(both, kept))) == (1, 1, 2)


REAL = [
    ("resnet8", "resnet14"),
    ("resnet8", "wrn_16_2"),
    ("wrn_16_1", "resnet8x4"),
    ("vgg8", "mobilenetv2"),
    ("mobilenetv2", "vgg8"),
    ("shufflenetv1", "resnet8x4"),
    ("shufflenetv2", "wrn_16_1"),
]


@pytest.mark.parametrize(("student", "teacher"), REAL)
@pytest.mark.parametrize("name", ["fitnet", "vid", "srrl"])
def test_networks_of_the_library_can_be_compared(name: str, student: str, teacher: str) -> None:
    method = create_method(name)
    make = NetworkFactory(student, num_classes=3, in_channels=3, image_size=(32, 32), teacher=create(teacher, 3))
    method.build(make)
    (losses,) = method.train().step(Batch(torch.randn(2, 3, 32, 32), torch.tensor([0, 2]), torch.arange(2)), Clock())
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("name", ["at", "vid", "nst"])
def test_other_numbers_of_stages_are_refused_before_training(name: str) -> None:
    method = create_method(name)
    with pytest.raises(UserError, match=r"student's layers are stage1_block1, .*teacher's .*name as many of each with student_layers"):
        method.build(NetworkFactory("resnet8", num_classes=3, in_channels=3, teacher=create("vgg8", 3)))


# ---------------------------------------------------------------- what is refused


def short(num_classes: int = CLASSES, in_channels: int = 1) -> Chain:
    return Chain({"stem": {"stem": layer(in_channels, 4)}, "head": {"pool": Pool(), "classifier": nn.Linear(4, num_classes)}})


def still_short(num_classes: int = CLASSES, in_channels: int = 1) -> Chain:
    blocks = {"stem": {"stem": layer(in_channels, 4)}, "stage1": {"first": layer(4, 4)}}
    return Chain({**blocks, "head": {"pool": Pool(), "classifier": nn.Linear(4, num_classes)}})


@pytest.mark.parametrize(
    ("name", "spec", "options", "named"),
    [
        ("at", tiny, {"weight": -1.0}, r"weight is -1; it must be at least 0"),
        ("at", tiny, {"kd_weight": -0.5}, r"kd_weight is -0.5; it must be at least 0"),
        ("at", tiny, {"label_weight": -0.5}, r"label_weight is -0.5; it must be at least 0"),
        ("at", tiny, {"temperature": 0.0}, r"temperature is 0; it must be above 0"),
        ("rkd", tiny, {"distance_weight": -1.0}, r"distance_weight is -1"),
        ("rkd", tiny, {"angle_weight": -1.0}, r"angle_weight is -1"),
        ("cc", tiny, {"dimensions": 0}, r"dimensions is 0; it must be at least 1"),
        ("srrl", tiny, {"matching_weight": -1.0}, r"matching_weight is -1"),
        ("srrl", tiny, {"student_layers": ("stem", "stage1")}, r"student_layers names 2 modules; srrl reads one"),
        ("srrl", tiny, {"student_layers": ("pool",)}, r"the student's feature is \(1, 8\), one sample; srrl takes a map"),
        ("fitnet", short, {}, r"student_layers: Chain has no stage between its stem and its head"),
        ("fitnet", still_short, {}, r"student_layers: Chain has one stage between its stem and its head, but the hint is at the second"),
        ("at", short, {}, r"student_layers: Chain has no stage between its stem and its head"),
        ("vid", short, {}, r"student_layers: Chain has no stage between its stem and its head"),
        ("nst", short, {}, r"student_layers: Chain has no stage between its stem and its head"),
        ("sp", tiny, {"student_layers": ("stem", "stage1")}, r"student's layers are stem, stage1, the teacher's third; name as many"),
        ("rkd", tiny, {"student_layers": ("stem",)}, r"student's layers are stem, the teacher's its pooled feature"),
        ("at", tiny, {"student_layers": ("pool",), "teacher_layers": ("pool",)}, r"the maps are \(1, 8\) and \(1, 12\)"),
        ("nst", tiny, {"student_layers": ("pool",), "teacher_layers": ("pool",)}, r"the maps are \(1, 8\) and \(1, 12\)"),
        ("vid", tiny, {"student_layers": ("pool",), "teacher_layers": ("pool",)}, r"are \(1, 8\) and \(1, 12\).*vid takes maps"),
        ("fitnet", tiny, {"student_layers": ("pool",), "teacher_layers": ("pool",)}, r"must be \(C, H, W\)"),
    ],
)
def test_invalid_options_and_layers_are_refused_before_training(name: str, spec: Spec, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        built_method(name, spec, **options)


def test_a_regressor_that_does_not_fit_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"the student's map is 2x2, the teacher's 8x8"):
        built_method("fitnet", strided, student_layers=("stage2",), teacher_layers=("stem",))


def test_srrl_needs_a_teacher_whose_head_is_known() -> None:
    with pytest.raises(UserError, match=r"the teacher: Plain is no chain of blocks, so its head is not known"):
        built_method("srrl", tiny, Plain())


@pytest.mark.parametrize("name", ["sp", "cc", "rkd", "pkt", "crd", "bss"])
def test_batches_of_related_samples_are_whole_and_have_two(name: str) -> None:
    method = create_method(name)
    check_batches(method, Settings(batch_size=2))
    with pytest.raises(UserError, match=r"batch_size is 1, .* take a batch_size of at least 2"):
        check_batches(method, Settings(batch_size=1))
    with pytest.raises(UserError, match=r"its batches cannot be split"):
        check_batches(method, Settings(batch_size=8, microbatches=2))


@pytest.mark.parametrize("name", ["fitnet", "at", "vid", "nst", "srrl"])
def test_losses_that_are_means_over_samples_may_be_cut(name: str) -> None:
    check_batches(create_method(name), Settings(batch_size=1))
    check_batches(create_method(name), Settings(batch_size=8, microbatches=2))


# ---------------------------------------------------------------- srrl


def test_srrl_reads_what_the_pool_takes() -> None:
    teacher = create("wrn_16_1", CLASSES, in_channels=1).eval()
    method = built_method("srrl", tiny, teacher)
    assert method.teacher_paths == ["norm"], "behind the last batch norm"
    assert head_of(method.teacher.network)[1].classifier is method.teacher.network.classifier


def test_srrl_with_the_teacher_itself_as_a_student() -> None:
    """If the projection gives the teacher's map, both terms vanish."""
    teacher = trained_teacher().eval()
    method = built_method("srrl", teacher, teacher)
    method.projection = nn.Identity()
    method.group.eval()
    losses = losses_of(method)
    assert losses["student0/matching"] == 0
    assert losses["student0/regression"] < 1e-10
