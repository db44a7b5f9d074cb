"""Every error this project raises on purpose.

::

    MlipTrainError
    ├── InputError                    exit 2: the user can mend it; nothing was changed
    │   ├── ConfigError               campaign.yaml says something impossible
    │   ├── CampaignNotFoundError     no campaign here, or one where a new one should go
    │   ├── CampaignBusyError         another run holds the campaign
    │   ├── NoUsableStructuresError   not one structure of the batch passed the gate
    │   └── CorruptFileError          a stored file is not what its checksum says
    ├── RejectedPotentialError        exit 4: trained and kept, but not fit to become the current one
    └── EngineError                   exit 3: the dataset is kept, the generation can be run again
        ├── EngineNotFoundError       the pacemaker command, or the deployment that runs it, is not there
        ├── NoGpuError                a GPU was asked for, and there is none
        ├── TrainingFailedError       the fit ended without a potential worth having
        ├── TrainingInterruptedError  the fit was stopped before its end; it can be resumed
        └── InconsistentPotentialError  the exported file is not what was trained

Each message names the culprit (file, frame or key), what was expected, and what to do.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CampaignBusyError",
    "CampaignNotFoundError",
    "ConfigError",
    "CorruptFileError",
    "EngineError",
    "EngineNotFoundError",
    "InconsistentPotentialError",
    "InputError",
    "MlipTrainError",
    "NoGpuError",
    "NoUsableStructuresError",
    "RejectedPotentialError",
    "TrainingFailedError",
    "TrainingInterruptedError",
]


class MlipTrainError(Exception):
    """Base of the tree; `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class InputError(MlipTrainError):
    """Bad input, config or campaign state. Nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A campaign's configuration is not valid."""


class CampaignNotFoundError(InputError):
    """A directory is not a campaign, or cannot become one."""


class CampaignBusyError(InputError):
    """Another process is working on the campaign."""


class NoUsableStructuresError(InputError):
    """Nothing in a batch can be learned from."""


class CorruptFileError(InputError):
    """A file of the campaign differs from what was recorded when it was written."""


class RejectedPotentialError(MlipTrainError):
    """A potential was trained and is kept, but it is not fit to become the current one."""

    exit_code = 4


class EngineError(MlipTrainError):
    """The engine failed. The dataset is kept and the generation can be run again."""

    exit_code = 3


class EngineNotFoundError(EngineError):
    """The engine's command, or the deployment that runs it, cannot be found."""


class NoGpuError(EngineError):
    """A GPU was asked for, and there is none."""


class TrainingFailedError(EngineError):
    """The engine ended without evidence of a trained potential."""


class TrainingInterruptedError(EngineError):
    """The engine was stopped from outside, or ran out of its wall-time limit."""


class InconsistentPotentialError(EngineError):
    """The exported potential does not predict what the trainer predicted."""
