"""What happens to a batch: an update, and the roles of ORC."""

from __future__ import annotations

from docs.drawings.canvas import Canvas, Theme


def update(theme: Theme) -> Canvas:
    """Draw the way of a batch through `Method.step`, the trainer and back."""
    canvas = Canvas(theme, 330)
    method, trainer = theme.students[0], theme.students[1]
    canvas.heading(24, "One update", ["left: what a method says; right: what the trainer does"])
    canvas.line("M212,56 V304", dashed=True, width=1)
    steps = (
        (105, 80, method, "step(batch, clock)"),
        (105, 135, method, "logits of the group"),
        (105, 190, method, "yield {name: loss, ...}"),
        (317, 190, trainer, "sum of the losses"),
        (317, 245, trainer, "backward"),
        (317, 300, trainer, "optimizer.step()"),
    )
    for x, y, colour, label in steps:
        canvas.box(x, y, 176, 34, fill=theme.paper, stroke=colour, label=label, size=13)
    for start, end in ((98, 116), (153, 171)):
        canvas.line(f"M105,{start} V{end}", head=True)
    canvas.line("M194,190 H227", head=True)
    for start, end in ((208, 226), (263, 281)):
        canvas.line(f"M317,{start} V{end}", head=True)
    canvas.line("M228,300 H105 V209", dashed=True, head=True)
    for y, words in ((240, "it goes on,"), (256, "with new"), (272, "weights, to its"), (288, "next yield")):
        canvas.text(12, y, words, size=12, anchor="start")
    return canvas


def roles(theme: Theme) -> Canvas:
    """Draw the three updates of ORC on one batch: pivot, best student, the others."""
    canvas = Canvas(theme, 615)
    pivot, best, rest = theme.students[3], theme.students[1], theme.students[0]
    canvas.heading(24, "ORC: who teaches whom, in one batch")
    canvas.text(14, 48, "0  All students predict. Their cross-entropies rank them:", anchor="start")
    for number, (error, colour) in enumerate(((0.9, rest), (0.3, best), (0.7, rest))):
        x = 80 + 130 * number
        canvas.box(x, 84, 104, 32, fill=theme.paper, stroke=colour, label=f"student {number + 1}")
        canvas.parts.append(f'<rect x="{x - 50}" y="106" width="{100 * error:g}" height="8" fill="{colour}"/>')
        canvas.text(x, 131, f"error {error}", size=12)
    canvas.text(14, 170, "1  The pivot learns, from the batch mixed with samples", anchor="start")
    canvas.text(32, 187, "that the students get wrong (most from student 1).", anchor="start")
    canvas.box(96, 225, 130, 32, label="batch, mixed", size=13)
    canvas.line("M163,225 H228", head=True)
    canvas.box(300, 225, 140, 36, fill=theme.paper, stroke=pivot, label="pivot", size=13)
    canvas.text(196, 216, "CE", size=12)
    canvas.text(14, 285, "2  The pivot teaches the best student of the batch.", anchor="start")
    canvas.box(96, 325, 130, 36, fill=theme.paper, stroke=pivot, label="pivot", size=13)
    canvas.line("M163,325 H228", colour=pivot, head=True)
    canvas.text(196, 316, "KL", size=12)
    canvas.box(300, 325, 140, 36, fill=theme.paper, stroke=best, label="student 2", size=13)
    canvas.text(14, 385, "3  Both teach the others.", anchor="start")
    for y, label, colour in ((430, "pivot", pivot), (500, "student 2", best)):
        canvas.box(96, y, 130, 36, fill=theme.paper, stroke=colour, label=label, size=13)
    for y, label in ((430, "student 1"), (500, "student 3")):
        canvas.box(300, y, 140, 36, fill=theme.paper, stroke=rest, label=label, size=13)
    for start, colour in ((430, pivot), (500, best)):
        for end in (430, 500):
            canvas.line(f"M163,{start} L228,{end + (start - end) * 0.1:g}", colour=colour, head=True)
    canvas.text(14, 555, "Each network is updated once; students learn from the", anchor="start")
    canvas.text(14, 573, "labels, too. A teacher predicts again after its update.", anchor="start")
    canvas.text(14, 600, "The next batch has other roles.", anchor="start", bold=True)
    return canvas
