"""Selection of the device to run on."""

from __future__ import annotations

import torch

from studygroup.errors import UserError


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` takes a GPU if there is one.

    Raises:
        UserError: the device is not available.
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
    """Return whether the device computes bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
