"""Mixup and CutMix: inputs and labels against a loop, partners, and batches on several ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from studygroup.batch import Batch, LabelMix, LabelTargets, Partition
from studygroup.data import Batches, ImageTransform, Split
from studygroup.data.images.mixing import Mixing
from studygroup.distributed.context import DistContext
from studygroup.losses import cross_entropy, mixed_cross_entropy, per_sample_cross_entropy
from studygroup.randomness import derive_seed

SHAPE = (3, 12, 10)


def split(samples: int = 45) -> Split:
    random = np.random.default_rng(0)
    return Split(random.integers(0, 256, (samples, *SHAPE), dtype=np.uint8), random.integers(0, 5, samples))


def batches(augment: str, partition: Partition | None = None, ranks: DistContext | None = None, **more: bool) -> Batches:
    transform = ImageTransform(SHAPE, (0.5,) * 3, (0.25,) * 3, augment)
    given = {} if ranks is None else {"ranks": ranks}
    return Batches(split(), transform, batch_size=16, partition=partition, **given, **more)  # type: ignore[arg-type]


def test_mixed_cross_entropy_of_targets_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, generator=generator)
    first, second = torch.randint(5, (2, 7), generator=generator)
    share = 0.5 + 0.5 * torch.rand(7, generator=generator)
    targets = LabelTargets(first, LabelMix(second, share))
    expected = []
    for z, y, other, w in zip(logits, first, second, share, strict=True):
        soft = torch.zeros(5)
        soft[y] += w
        soft[other] += 1 - w
        expected.append(-(soft * z.log_softmax(0)).sum())
    torch.testing.assert_close(per_sample_cross_entropy(logits, targets), torch.stack(expected))
    torch.testing.assert_close(cross_entropy(logits, targets), torch.stack(expected).mean())
    assert torch.equal(cross_entropy(logits, LabelTargets(first)), F.cross_entropy(logits, first, reduction="none").mean())
    both = mixed_cross_entropy(logits, targets, targets.map(lambda rows: rows.flip(0)), 0.3)
    flipped = per_sample_cross_entropy(logits, LabelTargets(first.flip(0), LabelMix(second.flip(0), share.flip(0))))
    torch.testing.assert_close(both, (0.3 * torch.stack(expected) + 0.7 * flipped).mean())


def test_targets_are_selected_split_and_joined() -> None:
    targets = LabelTargets(torch.arange(6), LabelMix(torch.arange(6) + 10, torch.arange(6) / 10))
    parts = targets.split((2, 0, 4))
    assert [len(part) for part in parts] == [2, 0, 4]
    whole = LabelTargets.cat(parts)
    assert whole.mix is not None
    assert targets.mix is not None
    assert torch.equal(whole.labels, targets.labels)
    assert torch.equal(whole.mix.labels, targets.mix.labels)
    assert torch.equal(whole.mix.share, targets.mix.share)
    assert LabelTargets.cat([LabelTargets(torch.arange(2)), LabelTargets(torch.arange(3))]).mix is None


@pytest.mark.parametrize("augment", ["mixup=1", "cutmix", "mixup,cutmix"])
def test_batches_are_mixed_of_their_own_samples(augment: str) -> None:
    """Against a loop over pixels: every pixel is the weighted mean of both images', or one of them."""
    kinds = set()
    for plain, mixed in zip(batches("none").epoch(2), batches(augment).epoch(2), strict=True):
        assert mixed.mix is not None
        assert torch.equal(plain.labels, mixed.labels)
        assert torch.equal(plain.indices, mixed.indices)
        share = mixed.mix.share
        assert (share == share[0]).all()
        assert 0.5 <= share[0] <= 1
        draws = batches(augment).preprocess.draw_mix(seed_of(mixed, 2), (len(mixed),))
        assert draws is None or torch.equal(plain.labels[draws.partners], mixed.mix.labels)
        assert draws is not None
        others = plain.inputs[draws.partners]
        average = share[0] * plain.inputs + (1 - share[0]) * others
        if torch.allclose(average, mixed.inputs, atol=1e-6):
            kinds.add("mixup")
            continue
        kinds.add("cutmix")
        own = (mixed.inputs == plain.inputs).all(1)
        assert (own | (mixed.inputs == others).all(1)).all()
        moved = draws.partners != torch.arange(len(mixed))
        assert torch.allclose(own.float().mean((1, 2))[moved], share[moved], atol=1e-6), "the label's weight is the area's"
    assert kinds <= set(augment.replace("=1", "").split(","))


def seed_of(batch: Batch, epoch: int) -> int:
    """The seed of a batch's mixing, found by its samples."""
    for step, found in enumerate(batches("none").epoch(epoch)):
        if torch.equal(found.indices, batch.indices):
            return derive_seed(0, "mix", epoch, step)
    raise AssertionError


def test_both_kinds_occur() -> None:
    mixing = Mixing(0.2, 1.0)
    boxes = [mixing.draw(seed, (16,), 12, 10).box for seed in range(40)]
    assert 8 < sum(box is None for box in boxes) < 32


def test_shares_and_boxes() -> None:
    for seed in range(200):
        mix = Mixing(None, 1.0).draw(seed, (4, 0, 3), 12, 10)
        assert 0.5 <= mix.share <= 1
        assert mix.box is not None
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 12
        assert 0 <= left <= right <= 10
        assert mix.share == 1 - (bottom - top) * (right - left) / 120
        assert sorted(mix.partners[:4].tolist()) == [0, 1, 2, 3]
        assert sorted(mix.partners[4:].tolist()) == [4, 5, 6]


def test_students_keep_to_their_own_samples() -> None:
    partition = Partition(3, "epoch")
    for plain, mixed in zip(batches("none", partition).epoch(0), batches("mixup=5", partition).epoch(0), strict=True):
        for own, other in zip(plain.per_student(3), mixed.per_student(3), strict=True):
            assert torch.equal(own.labels, other.labels)
            assert other.targets.mix is not None
            assert sorted(other.targets.mix.labels.tolist()) == sorted(own.labels.tolist())


def test_views_are_of_the_same_pairs() -> None:
    for batch in batches("mixup=5", Partition(2, views=2)).epoch(0):
        assert torch.equal(*batch.views), "without another augmentation, views are equal"


@pytest.mark.parametrize("whole_batch", [False, True])
@pytest.mark.parametrize("partition", [None, Partition(3, "epoch")])
def test_ranks_mix_as_one_process(partition: Partition | None, whole_batch: bool) -> None:
    """Every rank's shard has the rows that the whole batch has, mixed with the same partners, of other ranks too."""
    alone = list(batches("strong", partition).epoch(1))
    for rank in range(2):
        for one, shard in zip(alone, batches("strong", partition, DistContext(rank, 2), whole_batch=whole_batch).epoch(1), strict=True):
            if shard.shard is None:
                assert torch.equal(shard.inputs, one.inputs)
                continue
            rows = shard.shard.rows
            assert torch.equal(shard.inputs, one.inputs[rows])
            assert torch.equal(shard.labels, one.labels[rows])
            assert torch.equal(shard.indices, one.indices[rows])
            assert shard.mix is not None
            assert one.mix is not None
            assert torch.equal(shard.mix.labels, one.mix.labels[rows])
            assert torch.equal(shard.mix.share, one.mix.share[rows])


def test_microbatches_keep_their_mixed_labels() -> None:
    (batch, *_) = batches("strong").epoch(0)
    assert batch.mix is not None
    parts = batch.split(3)
    assert torch.equal(torch.cat([part.mix.labels for part in parts if part.mix]), batch.mix.labels)


def test_an_epoch_resumes_anywhere() -> None:
    whole = list(batches("strong").epoch(4))
    for start in range(len(whole)):
        for one, other in zip(whole[start:], batches("strong").epoch(4, start), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert one.mix is not None
            assert other.mix is not None
            assert torch.equal(one.mix.share, other.mix.share)


def test_unmixed_batches_have_no_mix() -> None:
    (batch, *_) = batches("medium").epoch(0)
    assert batch.mix is None
