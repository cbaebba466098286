"""Settings of all tests."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # of programs that the tests start, too; before torch reads it
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # many tests compare bits, or check when the CPU finds a fault; give it to test on a GPU

import torch
from hypothesis import settings

torch.set_num_threads(1)  # the networks here are too small to gain from more, and threads that wait for each other are slow

settings.register_profile("studygroup", deadline=None)  # a busy machine is no failure
settings.load_profile("studygroup")
