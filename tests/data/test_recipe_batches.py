"""Balanced sampling and token dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from studygroup.batch import Partition
from studygroup.data import Batches, ImageTransform, Split, TokenTransform
from studygroup.data.texts.dropout import TokenDropout
from studygroup.data.texts.tokenizers import Chars
from studygroup.errors import UserError

PLAIN = ImageTransform((1, 2, 2), (0.0,), (1.0,))
LABELS = np.array([0] * 900 + [1] * 90 + [2] * 10)


def batches(partition: Partition | None = None, *, balanced: bool = True, seed: int = 0) -> Batches:
    split = Split(np.zeros((len(LABELS), 1, 2, 2), dtype=np.uint8), LABELS)
    return Batches(split, PLAIN, batch_size=100, partition=partition, seed=seed, balanced=balanced)


def test_classes_are_drawn_equally_often() -> None:
    drawn = np.concatenate([batches().student_positions(epoch)[0] for epoch in range(30)])
    counts = np.bincount(LABELS[drawn])
    assert len(drawn) == 30 * len(LABELS)
    assert (abs(counts / len(drawn) - 1 / 3) < 0.01).all()  # the standard deviation is 0.0027
    rare = np.bincount(drawn, minlength=len(LABELS))[LABELS == 2]
    assert (abs(rare / (len(drawn) / 30) - 1) < 0.15).all()  # within a class, all samples equally often; deviation 0.03


def test_a_function_of_seed_and_epoch() -> None:
    first = batches().student_positions(1)[0]
    assert (first == batches().student_positions(1)[0]).all()
    assert (first != batches().student_positions(2)[0]).any()
    assert (first != batches(seed=1).student_positions(1)[0]).any()


@pytest.mark.parametrize("division", ["fixed", "epoch"])
def test_students_draw_from_their_own_samples(division: str) -> None:
    partition = Partition(students=3, division=division)  # type: ignore[arg-type]
    plain, drawn = (batches(partition, balanced=balanced).student_positions(1) for balanced in (False, True))
    for own, found in zip(plain, drawn, strict=True):
        assert len(own) == len(found)
        assert set(found) <= set(own)
        assert np.bincount(LABELS[found], minlength=3)[1] > 2 * np.bincount(LABELS[own], minlength=3)[1]
    assert sum(len(batch) for batch in batches(partition).epoch(0)) == len(LABELS)


def test_tokens_are_left_out() -> None:
    tokenizer = Chars()
    transform = TokenDropout(TokenTransform(torch.device("cpu")), 0.3, tokenizer)
    ids = torch.randint(2, tokenizer.vocabulary, (40, 50), generator=torch.Generator().manual_seed(0))
    ids[:, 40:] = tokenizer.pad
    found = transform(ids, seed=7)
    changed = found != ids
    assert not changed[:, 40:].any()
    assert (found[changed] == Chars.UNKNOWN).all()
    assert abs(changed[:, :40].float().mean() - 0.3) < 0.04  # the standard deviation is 0.011
    assert torch.equal(found, transform(ids, seed=7))
    assert not torch.equal(found, transform(ids, seed=8))
    assert torch.equal(transform(ids), ids)  # in evaluation
    rows = torch.tensor([3, 17, 39])
    assert torch.equal(transform(ids[rows], seed=7, rows=rows, total=40), found[rows])  # on another number of ranks


def test_special_tokens_are_kept_and_a_replacement_is_needed() -> None:
    tokenizer = Chars()
    tokenizer.special = {5}
    ids = torch.tensor([[5, 6, 7, 8] * 20])
    found = TokenDropout(TokenTransform(torch.device("cpu")), 0.9, tokenizer)(ids, seed=0)
    assert (found[ids == 5] == 5).all()
    assert (found[ids != 5] == Chars.UNKNOWN).any()
    tokenizer.replacement = None
    with pytest.raises(UserError, match="neither a mask token nor an unknown token"):
        TokenDropout(TokenTransform(torch.device("cpu")), 0.9, tokenizer)
