"""Checkpoints: a run that was interrupted goes on as if it had not been, to the bit.

Stored as safetensors, which hold tensors and text and can run no code. Written whole or not at all.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from airserve.nn.errors import TrainingError
from airserve.nn.training import Epoch, Progress, Trainer

_FORMAT = "airserve-checkpoint-1"


def save_checkpoint(path: Path, trainer: Trainer) -> None:
    """Write where the run of `trainer` stands."""
    progress = trainer.progress
    tensors: dict[str, npt.NDArray[Any]] = {"parameters": trainer.network.parameters}
    if progress.best_parameters is not None:
        tensors["best_parameters"] = progress.best_parameters
    tensors |= {f"optimiser.{name}": array for name, array in trainer.optimiser.state.items()}
    facts = {
        "sizes": trainer.network.sizes,
        "privacy": _privacy(trainer),
        "epoch": progress.epoch,
        "step": progress.step,
        "rng_state": progress.rng_state,
        "best_loss": progress.best_loss,
        "best_epoch": progress.best_epoch,
        "stopped_early": progress.stopped_early,
        "history": [asdict(epoch) for epoch in progress.history],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    save_file(tensors, temporary, metadata={"format": _FORMAT, "facts": json.dumps(facts)})
    temporary.replace(path)


def load_checkpoint(path: Path, trainer: Trainer) -> None:
    """Put `trainer`, made with the same settings, where the run saved in `path` stood."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        if metadata.get("format") != _FORMAT:
            raise TrainingError(f"{path} is no checkpoint of airserve")
        facts = json.loads(metadata["facts"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise TrainingError(f"the checkpoint {path} cannot be read: {error}") from None
    network = trainer.network
    if tuple(facts["sizes"]) != network.sizes or tensors["parameters"].dtype != network.dtype:
        raise TrainingError(
            f"the checkpoint {path} is of a network {facts['sizes']}, this one is {list(network.sizes)}"
        )
    if facts.get("privacy") != _privacy(trainer):
        raise TrainingError(
            f"the run of {path} had other privacy settings: its network has seen its rows with other noise than was "
            "asked for now; begin a new run"
        )
    network.parameters[:] = tensors["parameters"]
    trainer.optimiser.state = {
        name.removeprefix("optimiser."): np.array(array)
        for name, array in tensors.items()
        if name.startswith("optimiser.")
    }
    trainer.restore(
        Progress(
            epoch=facts["epoch"],
            step=facts["step"],
            rng_state=facts["rng_state"],
            best_loss=facts["best_loss"],
            best_epoch=facts["best_epoch"],
            best_parameters=tensors.get("best_parameters"),
            history=[Epoch(**epoch) for epoch in facts["history"]],
            stopped_early=facts["stopped_early"],
        )
    )


def _privacy(trainer: Trainer) -> list[float] | None:
    return None if trainer.privacy is None else [trainer.privacy.clip, trainer.privacy.noise]
