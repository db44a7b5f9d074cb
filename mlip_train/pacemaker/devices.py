"""What TensorFlow computes on: asked before a training that needs a GPU, and named by the engine itself."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from mlip_train.base.frozen import Frozen
from mlip_train.config.engine import Gpu
from mlip_train.errors import EngineError, NoGpuError

__all__ = [
    "Devices",
    "check_used_gpu",
    "check_visible_gpu",
    "gpu_environment",
    "visible_devices",
]

_PATIENCE: Final = 300.0  # seconds; a cold import from a network disk takes minutes
_ASK: Final = """
import json, tensorflow as tf
gpus = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")]
print(json.dumps({"tensorflow": tf.__version__, "gpus": gpus}))
"""


class Devices(Frozen):
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
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise EngineError(f"TensorFlow cannot be used ({lines[-1] if lines else 'it said nothing'})") from error


def gpu_environment(gpu: Gpu | None) -> dict[str, str]:
    """Environment variables that leave TensorFlow the chosen GPU only."""
    return {} if gpu is None or gpu.index is None else {"CUDA_VISIBLE_DEVICES": str(gpu.index)}


def check_visible_gpu(gpu: Gpu, devices: Devices) -> None:
    """Refuse to start on a CPU what was meant for a GPU.

    Raises
    ------
    NoGpuError
        When TensorFlow sees no GPU although one is required.
    """
    if gpu.required and not devices.gpus:
        raise _no_gpu(gpu, f"there is {devices}")


def check_used_gpu(gpu: Gpu, devices: str) -> None:
    """Refuse to go on when the engine itself, which a launcher may have put elsewhere, got no GPU.

    Raises
    ------
    NoGpuError
        When the devices that it named include none although one is required.
    """
    if gpu.required and "GPU" not in devices:
        raise _no_gpu(gpu, f"the engine computes on {devices}")


def _no_gpu(gpu: Gpu, but: str) -> NoGpuError:
    which = "a GPU" if gpu.index is None else f"GPU {gpu.index}"
    return NoGpuError(
        f"engine.gpu asks for {which}, but {but}. Install the CUDA build (make EXTRA=gpu install), look at "
        "nvidia-smi, or set engine.gpu: {required: false} to train on the CPU"
    )
