"""Handing in-memory results to a flow: as a file, because flows take paths, not arrays."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import ase.io
import platformdirs
from ase import Atoms

from mlip_train.base.campaigns_root import campaigns_root
from mlip_train.base.files import atomic_path, sha256_of
from mlip_train.errors import InputError

__all__ = ["stage_dft_results"]


def stage_dft_results(atoms: Iterable[Atoms]) -> Path:
    """Write Atoms with their results to a file that a flow can be given.

    The file lies under the hash of its content, so staging the same results twice gives the same path:
    in the user's cache directory, or below MLIP_CAMPAIGNS_ROOT, where the flow may read it and other
    machines see it. ASE's trajectory format keeps every digit.

    Raises
    ------
    InputError
        When there is nothing to stage, or an item is not an Atoms object.
    """
    frames = list(atoms)
    if not frames or not all(isinstance(frame, Atoms) for frame in frames):
        raise InputError("stage_dft_results needs a list of ase.Atoms with energies and forces attached")
    root = campaigns_root()
    folder = root / ".staged" if root else Path(platformdirs.user_cache_dir("mlip_train")) / "staged"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        written = Path(scratch) / "frames.traj"
        ase.io.write(written, frames, format="traj")
        target = folder / f"{sha256_of(written)[:24]}.traj"
        with atomic_path(target) as temporary:
            written.rename(temporary)
    return target
