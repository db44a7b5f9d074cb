from __future__ import annotations

from mlip_train.records.committee import Calibration, CommitteeRecord


def test_what_is_not_calibrated_is_told() -> None:
    told = "3 members, whose spread is not calibrated: "
    assert str(CommitteeRecord(members=(1, 2, 4), n_structures=0)) == f"{told}there is no test set"
    assert str(CommitteeRecord(members=(1, 2, 4), n_structures=5)) == f"{told}the members do not differ"


def test_what_is_calibrated_is_told_with_its_unit() -> None:
    energy = Calibration(
        spread=1.0, largest=2.0, factor=3.5, exponent=1.0, error=3.54, within_one=0.5, within_two=1.0,
        rank_correlation=0.75,
    )  # fmt: skip
    force = energy.model_copy(update={"spread": 20.0, "error": 41.0, "rank_correlation": None})
    assert str(CommitteeRecord(members=(1, 2, 4), n_structures=5, energy=energy, force=force)) == (
        "3 members; spread on 5 test structures: 1 meV/atom for errors of 3.54 (50% of them within one "
        "calibrated standard deviation, 100% within two, rank correlation 0.75), 20 meV/Å for errors of 41 "
        "(50% of them within one calibrated standard deviation, 100% within two)"
    )
