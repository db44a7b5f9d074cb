from __future__ import annotations

import numpy as np

from mlip_train.assess.subject import Subject
from mlip_train.campaign.campaign import Campaign
from mlip_train.potential.potential import Potential


def test_a_potential_is_tried_on_what_it_did_not_learn_from(silicon_campaign: Campaign, subject: Subject) -> None:
    unseen = [row.structure.structure_id for row in silicon_campaign.store.iterate("test")]
    assert [structure.structure_id for structure in subject.tried_on()] == unseen != []
    assert len(list(subject.stored())) == len(silicon_campaign.store)


def test_without_a_test_set_it_is_tried_on_what_it_learned_from(
    silicon_campaign: Campaign, subject: Subject
) -> None:
    alone = Subject(subject.plan.model_copy(update={"n_test": 0}), subject.closed)
    learned = [row.structure_id for row in silicon_campaign.store.index("train")]
    assert [structure.structure_id for structure in alone.tried_on()] == learned


def test_its_calculators_are_made_once_and_agree_with_the_published_potential(
    subject: Subject, potential: Potential
) -> None:
    assert subject.calculator is subject.calculator
    assert subject.grading is subject.grading
    atoms, published = next(subject.stored()).to_atoms(), potential.calculator()
    for calculator in (subject.calculator, subject.grading, published):
        calculator.calculate(atoms)
    assert np.abs(subject.calculator.results["forces"]).max() > 0.1
    for calculator in (subject.calculator, subject.grading):
        np.testing.assert_allclose(calculator.results["forces"], published.results["forces"], atol=1e-9)
    np.testing.assert_allclose(subject.grading.results["gamma"], published.results["gamma"])
