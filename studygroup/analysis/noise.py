"""Accuracy with noise on the parameters, which measures how wide a minimum is (Feng et al., AAAI 2021, Figure 6).

    w' = w + sigma e,            e ~ N(0, 1) for every parameter
    w' = w + sigma rms(w) e      relative: rms(w) is the root mean square of the tensor that the parameter is in

The paper does not say how many draws it takes, nor which parameters get noise: here, all of the plain network do, those of batch norm
too. Running statistics stay as they are. The noise of a draw depends on the seed and on the name and shape of a tensor only, so it is
the same for all sigmas and for the networks of all methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from studygroup import randomness
from studygroup.data import HOLDOUT, Split, evaluation_batches, open_data
from studygroup.errors import UserError
from studygroup.runs.member import BEST, Member, Run
from studygroup.training.evaluate import score

ALL = "all"


def accuracy_under_noise(
    run: Run,
    sigmas: Sequence[float],
    draws: int = 5,
    seed: int = 0,
    relative: bool = False,
    *,
    members: Sequence[str] = (BEST,),
    batch_size: int = 500,
    device: str = "auto",
    cache: str | Path | None = None,
) -> dict[str, list[list[float]]]:
    """Return the accuracy of members on the run's test set with Gaussian noise on their parameters.

    Args:
        run: finished.
        sigmas: standard deviations of the noise, each at least 0.
        draws: number of draws of the noise.
        seed: of the noise.
        relative: multiply the noise on each tensor of parameters by the tensor's root mean square.
        members: their names; `all` for all but `best`.
        batch_size: number of samples that are classified at once.
        device: `auto`, `cpu`, `cuda`, ...
        cache: folder of prepared data.

    Returns:
        By member, for every sigma, the accuracy of every draw in [0, 1].

    Raises:
        UserError: an argument cannot be used, or the run has no test set.

    Example:
        >>> import studygroup as sg
        >>> from studygroup.analysis import noise
        >>> found = noise.accuracy_under_noise(sg.Run("runs/digits"), sigmas=[0.0, 0.1], draws=2)
        >>> [len(draws) for draws in found["best"]]
        [2, 2]
    """
    if draws < 1 or batch_size < 1:
        raise UserError(f"draws is {draws}, batch_size {batch_size}; both must be at least 1")
    if not sigmas:
        raise UserError("sigmas is empty; give at least one, such as 0.01")
    if wrong := [sigma for sigma in sigmas if not (math.isfinite(sigma) and sigma >= 0)]:
        raise UserError(f"a sigma is {wrong[0]:g}; it must be a number of at least 0")
    names = [name for name in run.names() if name != BEST] if ALL in members else list(dict.fromkeys(members))
    split = _test_split(run, cache)
    found: dict[str, list[list[float]]] = {}
    for name in names:
        noisy = _Noisy(run.member(name), split, batch_size, device, relative=relative)
        by_draw = [noisy.accuracies(sigmas, randomness.derive_seed(seed, "noise", draw)) for draw in range(draws)]
        found[name] = [list(column) for column in zip(*by_draw, strict=True)]
    return found


def _test_split(run: Run, cache: str | Path | None) -> Split:
    """Open the test set of a run, read and divided as for its training."""
    best = run.best
    options, tokenizer = best.inputs.like_training(replace(best.data_options(), cache=cache, progress=False, download=False))
    split = open_data(options, tokenizer=tokenizer, default_holdout=HOLDOUT).test
    if not len(split):
        raise UserError(f"the data of {run.folder} has no test set, and accuracy under noise is measured on it; train with --test-size")
    return split


class _Noisy:
    """A member whose parameters get noise."""

    def __init__(self, member: Member, split: Split, batch_size: int, device: str, *, relative: bool) -> None:
        self.member, self.split, self.batch_size, self.relative = member, split, batch_size, relative
        self.device = member.pick_device(device)
        self.run = member.runner(self.device)  # moves the network
        self.weights = {name: (parameter, parameter.detach().clone()) for name, parameter in member.network.named_parameters()}

    @torch.no_grad()
    def accuracies(self, sigmas: Sequence[float], seed: int) -> list[float]:
        """Return the accuracy for every sigma times the noise of this seed."""
        noise = {}
        for name, (_, weights) in self.weights.items():
            drawn = torch.randn(weights.shape, generator=randomness.generator(seed, name)).to(weights)
            noise[name] = drawn * weights.square().mean().sqrt() if self.relative else drawn
        found = []
        for sigma in sigmas:
            for name, (parameter, weights) in self.weights.items():
                parameter.copy_(weights + sigma * noise[name])
            batches = evaluation_batches(self.split, self.member.prepare(self.device), self.batch_size)
            found.append(score(lambda inputs: {"noisy": self.run(inputs)}, ["noisy"], batches).accuracy["noisy"])
        return found
