"""What TensorFlow computes on: asked before a training that needs a GPU, and told by the engine itself."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlip_train.errors import EngineError, NoGpuError
from mlip_train.model import FrozenModel

if TYPE_CHECKING:  # the configuration itself imports from this package, which imports this module
    from mlip_train.config import Gpu

__all__ = [
    "TELL_CALLBACK",
    "Devices",
    "check_gpu",
    "devices_told",
    "gpu_environment",
    "tell_devices",
    "visible_devices",
]

TELL_CALLBACK: Final = "mlip_train.pacemaker.devices.tell_devices"  # as input.yaml names it
_TOLD: Final = "mlip_train: TensorFlow computes on "
_PATIENCE: Final = 300.0  # seconds; a cold import from a network disk takes minutes
_ASK: Final = """
import json, tensorflow as tf
gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")]
print(json.dumps({"tensorflow": tf.__version__, "gpus": gpus}))
"""


class Devices(FrozenModel):
    """What TensorFlow sees."""

    tensorflow: str  # version
    gpus: tuple[str, ...]

    def __str__(self) -> str:
        return f"TensorFlow {self.tensorflow} with {', '.join(self.gpus) or 'no GPU (trains on the CPU)'}"


def visible_devices(environment: Mapping[str, str] | None = None) -> Devices:
    """Ask TensorFlow, in a process of its own: importing it takes long and prints much.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Environment variables to add to those of this process.

    Raises
    ------
    EngineError
        When TensorFlow cannot be imported, or does not answer.
    """
    command = [sys.executable, "-c", _ASK]
    try:
        asked = subprocess.run(
            command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=_PATIENCE,
            check=True,
        )  # fmt: skip
        return Devices.model_validate(json.loads(asked.stdout.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"TensorFlow did not answer within {_PATIENCE:g} s; see: mlip-train doctor") from error
    except (subprocess.CalledProcessError, IndexError, ValueError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise EngineError(f"TensorFlow cannot be used ({told[-1] if told else 'it said nothing'})") from error


def gpu_environment(gpu: Gpu | None) -> dict[str, str]:
    """Environment variables that leave TensorFlow the chosen GPU only."""
    return {} if gpu is None or gpu.index is None else {"CUDA_VISIBLE_DEVICES": str(gpu.index)}


def check_gpu(gpu: Gpu, devices: Devices) -> None:
    """Refuse to train on a CPU what was meant for a GPU.

    Raises
    ------
    NoGpuError
        When TensorFlow sees no GPU although one is required.
    """
    if gpu.required and not devices.gpus:
        which = "a GPU" if gpu.index is None else f"GPU {gpu.index}"
        raise NoGpuError(
            f"engine.gpu asks for {which}, but there is {devices}. Install the CUDA build (make EXTRA=gpu "
            "install), look at nvidia-smi, or set engine.gpu: {required: false} to train on the CPU"
        )


def tell_devices(**progress: Any) -> None:
    """Print, from within the engine and once, what TensorFlow computes on."""
    _tell_once()


@functools.cache
def _tell_once() -> None:
    tensorflow = sys.modules.get("tensorflow")  # the engine has imported it by now
    if tensorflow is not None:
        names = [device.name for device in tensorflow.config.list_logical_devices()]
        print(f"{_TOLD}{', '.join(names)}", flush=True)


def devices_told(log: Path) -> str | None:
    """What the engine said in its last attempt; None if nothing yet."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [line.removeprefix(_TOLD) for line in lines if line.startswith(_TOLD)]
    return told[-1] if told else None
