"""Closing a fitted potential towards short distances, where it knows nothing.

The engine has two ways, per pair of elements, between r_in - delta_in and r_in: `zbl` hands an atom's
energy over to ZBL repulsion, `distance` fades out the radial functions. Its trainer knows of neither when it
fits, so both are set on a fitted potential, at distances below all that it was fitted to, and taken off
again before the next fit (`warm_start.prepare_start`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mlip_train.ace.bbasis import load_bbasis
from mlip_train.atoms.pair_potentials import SwitchRadii
from mlip_train.atoms.pairs import pair_name
from mlip_train.base.files import atomic_path

__all__ = ["Closing", "close_bbasis"]

Closing = Literal["zbl", "distance"]


def close_bbasis(fitted: Path, target: Path, closing: Closing, radii: Mapping[str, SwitchRadii]) -> None:
    """Write a fitted B-basis with an inner cutoff for every pair of its elements.

    Parameters
    ----------
    fitted : Path
        B-basis as the fit left it.
    target : Path
        Where to write the closed one.
    closing : {"zbl", "distance"}
        What takes over below: ZBL repulsion, or nothing.
    radii : mapping of pair to SwitchRadii
        Between which ACE hands over; the outer one must not be above any distance that was fitted.

    Raises
    ------
    EngineError
        When `fitted` is not a readable B-basis.
    """
    configuration = load_bbasis(fitted)
    blocks = configuration.funcspecs_blocks
    for block in blocks:
        elements = sorted(set(block.elements_vec))
        if len(elements) <= 2:  # the list repeats the only species of a unary block
            switch = radii[pair_name(elements[0], elements[-1])]
            block.r_in, block.delta_in = switch.outer, switch.outer - switch.inner
            block.inner_cutoff_type = closing
            block.core_rep_parameters = [1.0, 1.0] if closing == "zbl" else [0.0, 0.0]
    configuration.funcspecs_blocks = blocks
    with atomic_path(target) as temporary:
        configuration.save(str(temporary))
