"""Settings of all tests."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)  # the networks here are too small to gain from more, and threads that wait for each other are slow

settings.register_profile("studygroup", deadline=None)  # a busy machine is no failure
settings.load_profile("studygroup")
