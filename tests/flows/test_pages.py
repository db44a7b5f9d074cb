"""Prefect's pages as a person sees them, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey
from prefect.states import State

from deployments.deploy import deploy
from docs.browser import Browser, find_chromium
from flows.train_generation import train_generation
from mlip_train import Campaign
from mlip_train.campaign.new_campaign import NewCampaign
from mlip_train.fit.pair_curves import PairCurve
from tasks.artifacts import artifact_key

pytestmark = [
    pytest.mark.skipif(
        find_chromium() is None, reason="looking at pages needs chromium or google-chrome on the PATH"
    ),
    pytest.mark.xdist_group("pages"),  # one worker makes the runs that they share
]

UIS = pytest.mark.parametrize("ui", ["", "/v2"], ids=["v1", "v2"])
LEAST_BYTES = 30_000  # of a picture; that of an empty page has less


class Runs(NamedTuple):
    """A run that ended in each way; the completed one is the second generation of `campaign`."""

    campaign: Campaign
    completed: UUID
    skipped: UUID
    rejected: UUID
    failed: UUID


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(str(find_chromium())) as page:
        yield page


@pytest.fixture(scope="module")
def runs(
    prefect_server: str,
    tmp_path_factory: pytest.TempPathFactory,
    campaign_text: Callable[..., str],
    write_frames: Callable[[Path, int, int], Path],
) -> Runs:
    folder = tmp_path_factory.mktemp("pages")
    first, second = (write_frames(folder / f"{start}.extxyz", start, start + 10) for start in (0, 10))

    def train(campaign: Campaign, data: Path) -> UUID:
        state: State = train_generation(campaign.root, [data], return_state=True)
        return UUID(str(state.state_details.flow_run_id))

    good = Campaign.create(folder / "Si melt", campaign_text())
    hollow = Campaign.create(folder / "hollow", campaign_text(reference={"kind": "zbl"}))
    broken = Campaign.create(folder / "broken", campaign_text(environment={"STANDIN_FAILS": "nan_loss"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlip_train.pacemaker.supervision._REPORT_EVERY", 1.0)
        train(good, first)
        completed, skipped, failed = train(good, second), train(good, first), train(broken, first)
        patch.setattr(PairCurve, "hole", lambda curve: "Si and Si fall into each other")
        rejected = train(hollow, first)
    return Runs(good, completed=completed, skipped=skipped, rejected=rejected, failed=failed)


@pytest.fixture(scope="module")
def form(prefect_server: str) -> str:
    """The address of the form for a generation."""
    deploy()
    with get_client(sync_client=True) as client:
        return f"deployments/deployment/{client.read_deployment_by_name('train-generation/cpu').id}/run"


@pytest.fixture
def look(browser: Browser, prefect_server: str, tmp_path: Path) -> Callable[..., str]:
    """Opens a page, takes a picture of it, and returns what it says once it shows some texts."""

    def at(address: str, *texts: str) -> str:
        said = browser.open(f"{prefect_server}{address}", *texts)
        picture = tmp_path / "page.png"
        browser.picture(picture)
        assert picture.stat().st_size > LEAST_BYTES, f"{address} is empty"
        return said

    return at


def artifact(runs: Runs, what: str) -> str:
    """The address of the newest artifact of the campaign under a key."""
    of_key = ArtifactCollectionFilterKey(any_=[artifact_key(runs.campaign.root, what)])
    with get_client(sync_client=True) as client:
        (newest,) = client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=of_key))
    return f"artifacts/artifact/{newest.latest_id}"


@UIS
def test_the_form_explains_itself(browser: Browser, look: Callable[..., str], form: str, ui: str) -> None:
    look(f"{ui}/{form}", "Directory of the campaign", "DFT results: files that ASE")
    browser.click("NewCampaign", "preset (Optional)")
    explained = [str(field.description) for field in NewCampaign.model_fields.values()]
    said = browser.read(*NewCampaign.model_fields, *(text for text in explained if "`" not in text))
    for text in explained:  # one UI renders markdown, the other shows it
        assert text.replace("`", "") in said.replace("`", "")


@UIS
def test_a_completed_run_tells_of_its_potential(
    browser: Browser, look: Callable[..., str], runs: Runs, ui: str
) -> None:
    yace = str(runs.campaign.potentials / "potential_gen_02.yace")
    told = ("10 new structures", "continues generation 1", "(its parent: energy", "out of epochs")
    gate = ("Gate: accepted", f"Published {yace}")
    said = look(f"{ui}/runs/flow-run/{runs.completed}", "Si melt generation 2", "Completed", *told, *gate)
    for noise in ("Finished in state Completed()", "Traceback"):
        assert noise not in said
    browser.click("Subflow Runs", "Si melt training 2")
    browser.click("Artifacts", artifact_key(runs.campaign.root, "dataset"))
    whats = ("dataset", "selection", "training", "checks", "errors", "loss-curve", "potential")
    browser.read(*(artifact_key(runs.campaign.root, what) for what in whats))


@UIS
def test_a_skipped_run_tells_that_nothing_is_new(look: Callable[..., str], runs: Runs, ui: str) -> None:
    told = ("nothing new to learn from: 0 new structures, 10 known already", "potential_gen_02.yace")
    look(f"{ui}/runs/flow-run/{runs.skipped}", "Si melt skipped", "Skipped", *told)


@UIS
@pytest.mark.parametrize(
    ("how", "texts"),
    [
        ("rejected", ("Rejected", "rejected: dimer: Si and Si fall", "Add structures in which")),
        ("failed", ("Failed", "its loss is not a finite number", "The dataset is kept; mend the cause")),
    ],
)
def test_a_run_that_reached_no_potential_gives_its_reason_once(
    browser: Browser, look: Callable[..., str], runs: Runs, ui: str, how: str, texts: tuple[str, ...]
) -> None:
    page = f"{ui}/runs/flow-run/{getattr(runs, how)}"
    said = look(page, "generation 1", "ERROR", *texts)
    assert said.count(texts[1]) == 1
    assert "Traceback" not in said
    if ui:  # the other UI shows the beginning of a message only
        browser.click("Details", "State Message")
        browser.read(*texts[1:])


@UIS
def test_the_artifacts_tell_how_good_the_potential_is(look: Callable[..., str], runs: Runs, ui: str) -> None:
    errors = ("against the parent", "E RMSE (parent)", "stress RMSE", "E in meV/atom, F in meV/Å, stress in GPa")
    look(f"{ui}/{artifact(runs, 'errors')}", artifact_key(runs.campaign.root, "errors"), *errors)
    yace = str(runs.campaign.potentials / "potential_gen_02.yace")
    told = ("test set, the parent", "energy (meV/atom)", "Learned from", "continues generation 1", "LAMMPS")
    look(f"{ui}/{artifact(runs, 'potential')}", yace, *told)
    look(f"{ui}/{artifact(runs, 'selection')}", "Generation 2 learns from", "config type")
    look(f"{ui}/{artifact(runs, 'training')}", "Progress: 100%", "the engine has ended; last report: iteration")


def test_a_key_has_the_history_of_the_campaign(look: Callable[..., str], runs: Runs) -> None:
    key = artifact_key(runs.campaign.root, "potential")
    look(f"/v2/artifacts/key/{key}", key, "Si melt generation 1", "Si melt generation 2")
