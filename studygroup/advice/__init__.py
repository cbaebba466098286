"""Advice: whether to train longer, take a larger network or a group, found by comparisons within a time limit.

    alone      the student alone, for 1x, 2x, 4x, ... the epochs, until another doubling gains no more than its noise: what it needs
    rungs      all candidates at equal total compute, teachers included; the better half goes on to twice the compute
    winner     the best on the hold-out; of candidates that are tied, the cheapest. Its run is scored on the test set, once

Each step is a comparison (`sweep/`) in a folder of its own: its runs are resumable and run in parallel processes. Every decision, with the
measured times behind it, is written to the journal before it is acted on, so that an advice that was killed goes on as it had begun.

    candidates.py   what is tried          measure.py   operations and seconds of each
    plan.py         what fits into the time             journal.py   decisions and the time spent
    judgement.py    noise, ties, curves, the winner     advise.py   the steps in order
"""
