from __future__ import annotations

import subprocess
import sys

import pytest

from mlip_train.pacemaker.callbacks import STOP_CALLBACK, TELL_CALLBACK


@pytest.mark.parametrize("name", [STOP_CALLBACK, TELL_CALLBACK])
def test_the_engine_finds_a_callback_as_an_attribute_of_the_top_package(name: str) -> None:
    package, *rest = name.split(".")
    looked_up = (
        f"import {package} as found\nfor part in {rest}: found = getattr(found, part)\nassert callable(found)"
    )
    subprocess.run([sys.executable, "-c", looked_up], check=True)
