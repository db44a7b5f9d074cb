"""GPUs from a made-up list: there is none in the machines that these tests run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlip_train.config.engine import Gpu
from mlip_train.errors import EngineError, NoGpuError
from mlip_train.pacemaker.devices import (
    Devices,
    check_used_gpu,
    check_visible_gpu,
    gpu_environment,
    visible_devices,
)

NONE = Devices(tensorflow="2.21.0", gpus=())
ONE = Devices(tensorflow="2.21.0", gpus=("NVIDIA A100",))


def test_a_training_that_needs_a_gpu_is_refused_without() -> None:
    with pytest.raises(
        NoGpuError, match=r"engine.gpu asks for GPU 1, but there is TensorFlow 2\.21\.0 with no GPU"
    ):
        check_visible_gpu(Gpu(index=1), NONE)
    check_visible_gpu(Gpu(required=False), NONE)
    check_visible_gpu(Gpu(), ONE)


def test_a_training_whose_engine_got_no_gpu_is_refused() -> None:
    with pytest.raises(NoGpuError, match=r"asks for a GPU, but the engine computes on /device:CPU:0"):
        check_used_gpu(Gpu(), "/device:CPU:0")
    check_used_gpu(Gpu(required=False), "/device:CPU:0")
    check_used_gpu(Gpu(), "/device:CPU:0, /device:GPU:0")


def test_the_chosen_gpu_is_the_only_one_that_is_seen() -> None:
    assert gpu_environment(Gpu(index=2)) == {"CUDA_VISIBLE_DEVICES": "2"}
    assert gpu_environment(Gpu()) == gpu_environment(None) == {}


def fake_tensorflow(folder: Path, body: str) -> dict[str, str]:
    """A module of that name which is found before the real one."""
    (folder / "tensorflow.py").write_text(body)
    return {"PYTHONPATH": str(folder)}


def test_tensorflow_is_asked_for_its_gpus(tmp_path: Path) -> None:
    body = """
from types import SimpleNamespace as N
__version__ = "9.9"
print("a banner")
config = N(list_physical_devices=lambda kind: [N(name="/physical_device:GPU:0")],
           experimental=N(get_device_details=lambda gpu: {"device_name": "NVIDIA H100"}))
"""
    seen = visible_devices(fake_tensorflow(tmp_path, body))
    assert str(seen) == "TensorFlow 9.9 with NVIDIA H100"


@pytest.mark.parametrize(
    ("body", "told"), [("raise ImportError('no libcuda')", "no libcuda"), ("import sys; sys.exit(0)", "")]
)
def test_a_tensorflow_that_cannot_be_asked_is_an_error(tmp_path: Path, body: str, told: str) -> None:
    with pytest.raises(EngineError, match=f"TensorFlow cannot be used .*{told}"):
        visible_devices(fake_tensorflow(tmp_path, body))


def test_a_tensorflow_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlip_train.pacemaker.devices._PATIENCE", 0.2)
    with pytest.raises(EngineError, match=r"did not answer within 0\.2 s; see: mlip-train doctor"):
        visible_devices(fake_tensorflow(tmp_path, "import time; time.sleep(60)"))
