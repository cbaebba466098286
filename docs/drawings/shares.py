"""How CGL deals the samples of an epoch to its students."""

from __future__ import annotations

import random

from docs.drawings.canvas import Canvas, Theme

STUDENTS, SAMPLES, BATCH = 3, 24, 6


def dealt(seed: int) -> list[int]:
    """Return the student of each sample in an epoch: all have equally many."""
    owners = [number % STUDENTS for number in range(SAMPLES)]
    random.Random(seed).shuffle(owners)
    return owners


def shares(theme: Theme) -> Canvas:
    """Draw two epochs, a batch, and who imitates whom on it."""
    canvas = Canvas(theme, 520)
    canvas.heading(24, "CGL: a share of the data for each student", ["24 training samples, dealt anew in each epoch"])
    for row, name in enumerate(("epoch 1", "epoch 2")):
        y = 74 + 46 * row
        canvas.text(14, y + 4, name, anchor="start")
        for number, owner in enumerate(dealt(row)):
            canvas.box(80 + 13.6 * number, y, 12, 26, fill=theme.students[owner], stroke=theme.paper)
    canvas.text(14, 165, "A batch of 6 is one batch for all: 2 samples of each share.", anchor="start")
    for student in range(STUDENTS):
        colour = theme.students[student]
        y = 205 + 56 * student
        for number in range(BATCH // STUDENTS):
            canvas.box(32 + 26 * number, y, 20, 26, fill=colour, stroke=theme.paper)
        canvas.line(f"M78,{y} H118", colour=colour, head=True)
        canvas.box(180, y, 116, 34, fill=theme.paper, stroke=colour, label=f"student {student + 1}", size=13)
        canvas.line(f"M239,{y} H276", colour=colour, head=True)
        canvas.text(282, y + 4, "CE with its labels", size=12, anchor="start")
    canvas.text(14, 380, "On its own samples, a student also imitates the mean", anchor="start")
    canvas.text(14, 398, "logits of a random subgroup, drawn for each batch:", anchor="start")
    for x, teachers, learner in ((105, (1, 2), 0), (315, (0,), 2)):
        canvas.box(x + 62, 455, 84, 34, fill=theme.paper, stroke=theme.students[learner], label=f"student {learner + 1}")
        for place, teacher in enumerate(teachers):
            y = 455 + (34 * place - 17 if len(teachers) > 1 else 0)
            canvas.box(x - 52, y, 78, 28, fill=theme.paper, stroke=theme.students[teacher], label=f"student {teacher + 1}")
            canvas.line(f"M{x - 12},{y} L{x + 18},455", colour=theme.students[teacher], head=True)
    canvas.text(210, 508, "KL, with gradient for the learner only", size=12, italic=True)
    return canvas
