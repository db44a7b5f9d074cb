from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from mlip_train.records.errors import Errors, SplitErrors
from mlip_train.records.evaluation import ErrorRatio, Evaluation

OVERALL = Errors(n_structures=3, n_atoms=9, energy_rmse=1.0, energy_mae=0.5, force_rmse=9.0, force_mae=5.0)
ERRORS = SplitErrors(overall=OVERALL, by_config_type={})


def test_an_evaluation_of_an_earlier_version_still_loads() -> None:
    now = Evaluation(train=ERRORS, test=ERRORS)
    of_files = {"trainer_disagreement": 3e-7, "file_energy_difference": 1e-13, "file_force_difference": 1e-12}
    content = json.loads(now.model_dump_json()) | of_files
    assert Evaluation.model_validate_json(json.dumps(content)) == now
    assert not of_files.keys() & json.loads(now.model_dump_json()).keys()


def test_any_other_key_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="unknown key 'trainer_agreement'"):
        Evaluation.model_validate({"train": ERRORS, "test": None, "trainer_agreement": 1.0})


def test_what_the_parent_knows_is_compared_where_that_is_not_all() -> None:
    one = Evaluation(train=ERRORS, test=ERRORS)
    assert one.comparable == ERRORS
    part = ERRORS.model_copy(update={"overall": OVERALL.model_copy(update={"n_structures": 2})})
    assert one.model_copy(update={"compared": part}).comparable == part
    assert Evaluation(train=ERRORS, test=None).comparable is None


def test_an_error_grows_by_a_share_of_that_of_the_parent() -> None:
    ratio = ErrorRatio(measure="force_rmse", on="all", n_structures=3, own=12.0, parent=10.0, at_least=1.1)
    assert ratio.growth == pytest.approx(0.2)
