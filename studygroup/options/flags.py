"""Short flags of the command line, and flags of other tools that mean the same as one of them."""

from __future__ import annotations

ALIASES = {"learning_rate": ("--lr",), "batch_size": ("--batch",), "image_size": ("--imgsz",)}
SYNONYMS = {  # flags of other tools
    **dict.fromkeys(("--model", "--arch", "--network", "--net"), "--student"),
    **dict.fromkeys(("--output", "--out-dir", "--output-dir", "--save-dir", "--project"), "--out"),
    **dict.fromkeys(("--gpus", "--nproc", "--nproc-per-node"), "--devices"),
    **dict.fromkeys(("--wd", "--decay"), "--weight-decay"),
    **dict.fromkeys(("--grad-accum", "--gradient-accumulation-steps", "--accumulation"), "--microbatches"),
    **dict.fromkeys(("--val-size", "--val-split", "--validation-split"), "--holdout"),
    **dict.fromkeys(("--amp", "--fp16", "--dtype"), "--precision"),
    **dict.fromkeys(("--size", "--img-size", "--resize"), "--image-size"),
    **dict.fromkeys(("--scheduler", "--lr-scheduler", "--lr-schedule"), "--schedule"),
    "--opt": "--optimizer",
    "--trust-remote-code": "--allow-code",
    "--force": "--overwrite",
    "--cfg": "--config",
    "--recipe": "--config",
}
