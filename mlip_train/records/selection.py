"""What a fit learned from: the content of selection.json."""

from typing import ClassVar

from mlip_train.base.frozen import Frozen

__all__ = ["Selection", "SelectionFile", "Share"]


class Share(Frozen):
    """How many of how many structures."""

    chosen: int
    available: int

    def __str__(self) -> str:
        return f"{self.chosen} of {self.available}"


class Selection(Frozen):
    """What a fit learns from, in numbers; the structures themselves are listed in selection.json."""

    method: str
    structures: Share
    by_element: dict[str, Share]  # structures that hold the element
    by_config_type: dict[str, Share]
    identity: str  # SHA-256 of the chosen structures
    gamma_before: dict[str, float] = {}  # largest grade of the new structures to the potential before
    gamma_after: dict[str, float] = {}  # largest grade to the active set (of the new ones, where it was grown)
    log_volume: dict[str, float] = {}  # ln |det A| of the active set
    notes: tuple[str, ...] = ()
    projected: int = 0  # structures, counted every time
    seconds: float = 0.0

    def __str__(self) -> str:
        grades = f"; largest extrapolation grade {_listed(self.gamma_after)}" if self.gamma_after else ""
        if self.gamma_before:
            grades += f", that of the new structures to the potential before {_listed(self.gamma_before)}"
        return f"{self.structures} structures ({self.method}){grades}" + "".join(f"; {n}" for n in self.notes)


class SelectionFile(Frozen):
    """The content of selection.json: what was chosen in numbers, and the structures."""

    file_is: ClassVar[str] = "what a fit learned from"
    remedy: ClassVar[str] = (
        "restore it from a backup, or remove it: of a published generation only its report needs it, and a run "
        "that trains writes it anew"
    )

    selection: Selection
    structures: tuple[str, ...]


def _listed(grades: dict[str, float]) -> str:
    return ", ".join(f"{grade:.3g} ({element})" for element, grade in grades.items())
