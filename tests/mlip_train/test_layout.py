from __future__ import annotations

import subprocess
import sys


def test_the_library_needs_neither_prefect_nor_tensorflow() -> None:
    code = (
        "import sys, logging, mlip_train, mlip_train.fit.training, mlip_train.intake.accumulation; "
        "print([m for m in ('prefect', 'tensorflow') if m in sys.modules], logging.getLogger().handlers)"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout == "[] []\n"
