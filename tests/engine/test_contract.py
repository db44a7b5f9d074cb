"""What the service relies on in an engine, shown for the real one and for the stand-in alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.train_generation import GenerationResult, train_generation
from mlip_train import Campaign, Potential
from mlip_train.atoms.structure import Structure
from tests.engine.residuals import loss, residuals

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.xdist_group("contract"),  # one worker trains the generations that they share
]


class TwoGenerations:
    """A campaign of two generations, its results and the engine that made them."""

    def __init__(self, campaign: Campaign, first: GenerationResult, second: GenerationResult) -> None:
        assert first.potential is not None
        assert second.potential is not None
        self.campaign, self.first, self.second = campaign, first.potential, second.potential


# a parameter cannot ask for the fixture that marks the others
@pytest.fixture(scope="module", params=["stand-in", pytest.param("pacemaker", marks=pytest.mark.engine)])
def trained(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: str,
    campaign_text: Callable[..., str],
    write_frames: Callable[[Path, int, int], Path],
) -> TwoGenerations:
    folder = tmp_path_factory.mktemp("contract")
    text = campaign_text(real_engine=request.param == "pacemaker", fit={"max_epochs": 12}, test={"fraction": 0.2})
    campaign = Campaign.create(folder / "campaign", text)
    first = train_generation(campaign.root, [write_frames(folder / "one.extxyz", 0, 10)])
    second = train_generation(campaign.root, [write_frames(folder / "two.extxyz", 10, 14)])
    return TwoGenerations(campaign, first, second)


def training_rows(trained: TwoGenerations, generation: int) -> list[Structure]:
    stored = trained.campaign.store.iterate("train")
    return [row.structure for row in stored if row.generation <= generation]


def test_the_second_generation_begins_where_the_first_ended(trained: TwoGenerations) -> None:
    kappa = trained.campaign.config.loss_weights.kappa
    loss_of_parent = loss(trained.first, training_rows(trained, 2), kappa)
    assert trained.second.record.lineage.start.kind == "previous"
    assert trained.second.record.history.loss[0] == pytest.approx(loss_of_parent, rel=1e-3)
    assert trained.second.record.history.loss[-1] < trained.second.record.history.loss[0]


def test_the_exported_file_predicts_what_the_trainer_predicted(trained: TwoGenerations) -> None:
    for potential in (trained.first, trained.second):
        run = trained.campaign.generation(potential.generation)
        table = pd.read_pickle(run.train_predictions, compression="gzip").set_index("name")
        calculator = potential.calculator()
        rows = training_rows(trained, potential.generation)
        assert set(table.index) == {structure.structure_id for structure in rows}
        for structure in rows:
            atoms = structure.to_atoms()
            atoms.calc = calculator
            trainer = float(np.ravel(table.loc[structure.structure_id, "energy_pred"])[0])
            assert abs(atoms.get_potential_energy() - trainer) / len(atoms) < 1e-5


def test_the_history_is_that_of_the_engine(trained: TwoGenerations) -> None:
    history = trained.first.record.history
    assert history.iteration[0] == 0
    assert history.iteration[-1] == 12
    assert np.isfinite(history.loss).all()
    assert history.loss[-1] < history.loss[0]


def test_the_bundle_errors_are_those_of_the_published_file(trained: TwoGenerations) -> None:
    test_rows = [row.structure for row in trained.campaign.store.iterate("test") if row.generation == 1]
    energies, forces = residuals(trained.first, test_rows)
    assert trained.first.errors.test is not None
    overall = trained.first.errors.test.overall
    assert overall.n_structures == len(test_rows)
    assert overall.energy_mae == pytest.approx(1e3 * np.abs(energies).mean(), rel=1e-6)
    assert overall.force_rmse == pytest.approx(1e3 * np.sqrt((forces**2).mean()), rel=1e-6)


def test_the_next_generation_leaves_the_earlier_bundle_and_shard_alone(trained: TwoGenerations) -> None:
    trained.campaign.store.verify()
    assert Potential.load(trained.first.path) == trained.first
    assert Potential.current(trained.campaign) == trained.second
