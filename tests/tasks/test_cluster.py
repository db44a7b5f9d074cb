from __future__ import annotations

import pytest

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("prefect_server")]
