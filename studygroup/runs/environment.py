"""Record versions, hardware, commit and seed."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def environment(seed: int) -> dict[str, object]:
    """Return versions, hardware, commit and seed."""
    versions = {}
    for package in ("studygroup", "torch", "numpy", "pillow", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor())
        if hasattr(torch.cpu, "get_capabilities")
        else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }


def _commit() -> str | None:
    """Return the commit of the package's source, or None if it is not in a repository."""
    repository = Path(__file__).resolve().parents[2]
    if not (repository / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
