"""Every error this project raises on purpose.

::

    MlipTrainError
    ├── InputError                    exit 2: the user can mend it; the dataset holds nothing bad
    │   ├── ConfigError               campaign.yaml says something impossible
    │   ├── CampaignNotFoundError     no campaign here, and perhaps none can be made here
    │   ├── CampaignExistsError       a campaign is here already
    │   ├── CampaignBusyError         another run holds the campaign
    │   ├── NoUsableStructuresError   not one structure of the batch passed the frame check
    │   └── CorruptFileError          a stored file is missing, unreadable or not what was recorded
    ├── RejectedPotentialError        exit 4: trained and kept, but not fit to become the current one
    └── EngineError                   exit 3: the dataset is kept, the generation can be run again
        ├── EngineNotFoundError       the pacemaker command, or the deployment that runs it, is not there
        ├── NoGpuError                a GPU was asked for, and there is none
        ├── TrainingFailedError       the fit ended without a potential worth having
        ├── TrainingInterruptedError  the fit was stopped before its end; it can be resumed
        └── InconsistentPotentialError  it predicts what is not a number, or nothing to compare

Each message names the culprit (file, frame or key), what was expected, and what to do.
"""

from typing import ClassVar

__all__ = [
    "CampaignBusyError",
    "CampaignExistsError",
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
    """Bad input or configuration, or a damaged file. Bad input leaves the dataset unchanged."""

    exit_code = 2


class ConfigError(InputError):
    """A campaign's configuration is not valid."""


class CampaignNotFoundError(InputError):
    """A directory is not a campaign, or cannot become one."""


class CampaignExistsError(InputError):
    """A new campaign was to go where there is one."""


class CampaignBusyError(InputError):
    """Another process is working on the campaign."""


class NoUsableStructuresError(InputError):
    """Nothing in a batch can be learned from."""


class CorruptFileError(InputError):
    """A file of the campaign is missing, unreadable, or not what was recorded when it was written."""


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
    """A fit ended, or could not begin, without a potential worth having."""


class TrainingInterruptedError(EngineError):
    """The engine was stopped from outside, or ran out of its wall-time limit."""


class InconsistentPotentialError(EngineError):
    """A potential predicts what is not a finite number, or its trainer left nothing to compare with."""
