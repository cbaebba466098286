"""Settings of all tests."""

from __future__ import annotations

import torch

torch.set_num_threads(1)  # the networks here are too small to gain from more, and threads that wait for each other are slow
