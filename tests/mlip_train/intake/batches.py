"""Batches of silicon, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import ase.io
import numpy as np
from ase import Atoms

from mlip_train.intake.reading import Batch, read_batch
from tests.mlip_train.frames import SILICON_ONLY, crystal, with_results

__all__ = ["STRESS", "UNCONVERGED", "read", "reasons", "steps", "write"]

UNCONVERGED: Final = "the DFT calculation did not converge; finish it, then add the file again"
STRESS: Final = np.array([0.01, 0.02, 0.03, 0.004, 0.005, 0.006])  # all different, to see the order


def steps(n_frames: int = 2) -> list[Atoms]:
    """A relaxation: every frame has its own geometry."""
    frames = []
    for number in range(n_frames):
        atoms = crystal(energy=-10.0 + number, stress=STRESS)
        atoms.positions[1, 0] += 0.1 * number
        frames.append(with_results(atoms, **atoms.calc.results))
    return frames


def read(*sources: Path | str) -> Batch:
    """What is found in files and folders."""
    return read_batch(sources, SILICON_ONLY)


def write(path: Path, frames: list[Atoms] | None = None) -> Path:
    """Write a relaxation, or other frames."""
    ase.io.write(path, frames or steps())
    return path


def reasons(batch: Batch) -> list[str]:
    """Why something was refused."""
    return [refusal.reason for refusal in batch.refusals]
