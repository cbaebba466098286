"""Pick the device to run on, and say what it can do."""

from __future__ import annotations

import torch

from studygroup.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes a GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used ({str(error).splitlines()[0]}); try auto or cpu") from error
    return device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is done in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return False
