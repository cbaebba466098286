"""What a finished training hands over: the selected student, or a network that is made from the last weights of all students.

- `route`: of all M^L routes through a modular group, trained ones or not, one with a low cross-entropy on the hold-out set. It is found
  greedily: starting from the best trained route, one layer after the other takes the module with the lowest cross-entropy, until
  a pass over all layers changes nothing.
- `soup`: the average of the students' weights (model soups: Wortsman et al., ICML 2022, arXiv:2203.05482). Averages of networks that do not
  start from the same weights, and are not pulled together, are worthless; one that is worse than each of its students is not handed over.
- `ensemble`: all students as one network that predicts the mean of their probabilities.

Routes and soups are new networks, whose batch norms have never seen their own activations: the statistics are estimated anew on
training samples as they are augmented.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from studygroup.errors import UserError
from studygroup.groups import Modular, average
from studygroup.methods.method import Method
from studygroup.networks.ensemble import Ensemble
from studygroup.runs.member import ENSEMBLE
from studygroup.training.settings import Settings
from studygroup.training.state import BestCheckpoint
from studygroup.training.trainer import Trainer

MAX_PASSES = 5  # over the layers; one without a change ends the search
ROUTE, SOUP = "route", "soup"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HandedOver:
    """The network to deploy.

    Attributes:
        member: its name: of a member, `route 0-1-1-0`, `soup` or `ensemble`.
        made_of: the members whose weights it has.
        epoch: whose weights these are, from 1.
        holdout: accuracy on the hold-out set, in [0, 1]; None if there is none.
        network: in eval mode.
    """

    member: str
    made_of: Sequence[str]
    epoch: int
    holdout: float | None
    network: nn.Module


def check_hand_over(method: Method, settings: Settings, *, holdout: int) -> None:
    """Check, before training, that what is to be handed over can be made.

    Args:
        method: built.
        settings: of its training.
        holdout: number of hold-out samples.

    Raises:
        UserError: it cannot.
    """
    kind = settings.hand_over
    if kind == "route" and not isinstance(method.group, Modular):
        raise UserError("hand_over is route, but only the students of cgl with routing are routes; take soup, ensemble or selected")
    if kind == "route" and not holdout:
        raise UserError("hand_over is route, which is chosen by the hold-out set, but holdout is 0; give a --holdout above 0")
    if kind in ("soup", "ensemble") and len(method.candidates if kind == "soup" else method.student_names()) < 2:
        raise UserError(f"there is only one student, so no {kind} can be handed over or distilled; take another method, or selected")


def hand_over(trainer: Trainer, best: BestCheckpoint, members: Mapping[str, nn.Module]) -> HandedOver:
    """Return the network that a finished training hands over; on all ranks together.

    Args:
        trainer: at the end of its training.
        best: the selected member, with the weights of its epoch.
        members: all members as plain networks with their last weights.
    """
    kind = trainer.settings.hand_over
    if kind == "route":
        return best_route(trainer)
    if kind == "ensemble":
        students, record = trainer.method.student_names(), trainer.log.history[-1]
        network = Ensemble([members[name] for name in students]).eval()
        return HandedOver(ENSEMBLE, students, record["epoch"], record["holdout"].get(ENSEMBLE), network)
    found = soup(trainer, members) if kind == "soup" else None
    if found is not None:
        return found
    selected = copy.deepcopy(members[best.member])
    selected.load_state_dict(best.weights)
    return HandedOver(best.member, [trainer.members.averaged(best.member) or best.member], best.epoch, best.accuracy, selected)


def best_route(trainer: Trainer) -> HandedOver:
    """Search all routes of a modular group for one with a low cross-entropy on the hold-out set, greedily from the best trained route."""
    group = trainer.method.group
    assert isinstance(group, Modular)
    found: dict[tuple[int, ...], tuple[float, float]] = {}  # cross-entropy and accuracy by route

    def cross_entropy(route: tuple[int, ...]) -> float:
        if route not in found:
            scores = trainer.score(trainer.holdout, {ROUTE: trainer.recalibrate(group.export_route(route))})
            found[route] = scores.cross_entropy[ROUTE], scores.accuracy[ROUTE]
        return found[route][0]

    trained = [tuple(route) for route in group.routes.tolist()]
    route = min(trained, key=cross_entropy)
    for _ in range(MAX_PASSES):
        before = route
        for depth, modules in enumerate(group.used_modules):
            # The current module comes first, so that it stays where none is better.
            options = [(*route[:depth], module, *route[depth + 1 :]) for module in sorted(modules, key=lambda m: m != route[depth])]
            route = min(options, key=cross_entropy)
        if route == before:
            break
    name = f"{ROUTE} {'-'.join(map(str, route))}"
    users = [f"student{k}" for k, other in enumerate(trained) if set(enumerate(route)) & set(enumerate(other))]
    logger.info(
        "hand over: %s of %d routes tried; hold-out cross-entropy %.4f, of the best trained route %.4f",
        f"student{trained.index(route)}, the best" if route in trained else f"{name}, which no student trained, the best",
        len(found),
        found[route][0],
        min(found[other][0] for other in trained),
    )
    network = trainer.recalibrate(group.export_route(route))
    return HandedOver(name, users, trainer.state.epoch, found[route][1], network)


def soup(trainer: Trainer, members: Mapping[str, nn.Module]) -> HandedOver | None:
    """Return the average of the candidates' weights; None if it is worse on the hold-out set than each of them."""
    names = trainer.method.candidates
    network = trainer.recalibrate(average([members[name] for name in names]))
    if not len(trainer.holdout):
        return HandedOver(SOUP, names, trainer.state.epoch, None, network)
    scores = trainer.score(trainer.holdout, {SOUP: network})
    cross_entropy, accuracy = scores.cross_entropy[SOUP], scores.accuracy[SOUP]
    record = trainer.log.history[-1]
    worst = max(record["holdout_cross_entropy"][name] for name in names)
    if cross_entropy > worst:
        warnings.warn(
            f"the average of the students is worse than each of them: hold-out accuracy {accuracy:.2%}, cross-entropy {cross_entropy:.3f}, "
            f"that of the worst student {worst:.3f}; the selected student is handed over. Averages need students with one origin: "
            "--members-start same, or the same --weights for all",
            stacklevel=2,
        )
        return None
    return HandedOver(SOUP, names, trainer.state.epoch, accuracy, network)
