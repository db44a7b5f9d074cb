from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import TrainingFailedError
from mlip_train.pacemaker.continuation import check_continued
from tests.mlip_train.planning import planned

Make = Callable[..., Campaign]


def metrics(energy: float, force: float) -> pd.DataFrame:
    """As the engine writes them: eV/atom and eV/Å."""
    return pd.DataFrame({"loss": [0.1, 0.05], "rmse_epa": [energy, 0.0], "rmse_f_comp": [force, 0.0]})


def test_a_fit_that_begins_elsewhere_than_its_start_is_noticed(second: Campaign) -> None:
    plan = planned(second, 2)
    expected = plan.start_errors
    assert expected is not None
    energy, force = expected.energy_rmse / 1e3, expected.force_rmse / 1e3
    check_continued(plan, metrics(energy, force))
    check_continued(plan, metrics(energy * 1.005, force * 0.995))
    check_continued(plan, pd.DataFrame())
    check_continued(plan, metrics(np.nan, np.nan))  # told as what it is when the engine has ended
    for wrong in (metrics(energy * 1.1 + 1e-4, force), metrics(energy, force * 1.1 + 1e-3)):
        with pytest.raises(TrainingFailedError, match="did not continue"):
            check_continued(plan, wrong)
