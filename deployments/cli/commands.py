"""The commands of mlip-train."""

import getpass
import os
import shlex
import shutil
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deployments.cli import tables
from deployments.cli.console import (
    Commands,
    console,
    errors_become_exit_codes,
    interruption_is_explained,
    print_json,
    root,
    say,
)
from mlip_train.assess.comparison import compare_generations
from mlip_train.assess.decision import decide
from mlip_train.campaign.campaign import Campaign
from mlip_train.config.basis import Basis
from mlip_train.config.campaign_config import CampaignConfig, Checks
from mlip_train.config.template import campaign_yaml
from mlip_train.errors import InputError, MlipTrainError, NoUsableStructuresError
from mlip_train.evaluation.predictions import Exported
from mlip_train.evaluation.residuals import evaluate as compare_with_dft
from mlip_train.evaluation.summary import summarise
from mlip_train.intake.accumulation import list_refusals
from mlip_train.intake.frame_check import FrameRules, frame_rules
from mlip_train.intake.reading import read_batch
from mlip_train.potential.potential import Potential
from mlip_train.records.errors import SplitErrors
from mlip_train.records.verdict import Decision

app = typer.Typer(
    cls=Commands, callback=root, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
)

# What `validate` checks with without a campaign.
_ANY_ELEMENTS = FrameRules(
    elements=None,
    cutoff=Basis().cutoff,
    min_distance=Checks().min_distance,
    max_force=Checks().max_force,
    use_isolated_atoms=True,
)

CampaignArgument = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="The campaign's directory.")]
DataArgument = Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders or glob patterns.")]
GenerationArgument = Annotated[int, typer.Argument(metavar="GEN", min=1, help="Number of a generation.")]
WhyOption = Annotated[str, typer.Option("--why", help="Reason, kept with the potential.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")]


@app.command()
def init(
    campaign: CampaignArgument,
    elements: Annotated[list[str], typer.Option(help="Chemical elements, for example: Si or Al,Ni")],
    preset: Annotated[str, typer.Option(help="quick, standard or accurate")] = "standard",
) -> None:
    """Make a new campaign directory with a commented campaign.yaml."""
    with errors_become_exit_codes():
        symbols = [symbol for group in elements for symbol in group.replace(",", " ").split()]
        made = Campaign.create(campaign, campaign_yaml(symbols, preset))
        program = "mlip-train" if shutil.which("mlip-train") else sys.argv[0]
        console.print(
            f"Made {made.root}. Look at {made.config_file.name} in it, then:\n"
            f"  {program} run {shlex.quote(str(campaign))} DATA...",
            highlight=False,
            markup=False,
        )


@app.command()
def validate(
    data: DataArgument,
    campaign: Annotated[Path | None, typer.Option(help="Use this campaign's elements and limits.")] = None,
) -> None:
    """Check DFT results and train nothing; exit 2 when a frame would be refused."""
    with errors_become_exit_codes():
        rules = frame_rules(Campaign(campaign).config) if campaign else _ANY_ELEMENTS
        batch = read_batch(data, rules)
        console.print(tables.batch_table(batch))
        if batch.refusals:
            raise InputError(f"{len(batch.refusals)} would be refused:\n{list_refusals(batch.refusals)}")


@app.command()
def run(campaign: CampaignArgument, data: DataArgument, as_json: JsonOption = False) -> None:
    """Train one generation on new DFT results; print the potential's path."""
    with errors_become_exit_codes(as_json):
        here = Campaign(campaign)
        _ = here.config  # a mistake in campaign.yaml is reported before anything is started
        os.environ.setdefault("DO_NOT_TRACK", "1")  # asked by Prefect's client when it is imported
        # Prefect takes seconds to import, and only this command needs it.
        from prefect.utilities.urls import url_for

        from deployments.cli.terminal import follow_training, show_flow_messages
        from deployments.local_server import prefect_api
        from flows.train_generation import train_generation

        show_flow_messages(console)
        console.print("Connecting to Prefect (a local server takes some 15 s to start) ...")
        with prefect_api():
            # absolute, because the run may be repeated from elsewhere; a pattern stays a pattern
            sources = [source and os.path.abspath(os.path.expanduser(source)) for source in data]  # noqa: PTH100, PTH111
            with interruption_is_explained(), follow_training(here, console):
                state = train_generation(here.root, sources, return_state=True)
            page = url_for("flow-run", obj_id=state.state_details.flow_run_id)
        result = state.result()
        if as_json:
            print_json({**tables.result_summary(result), "flow_run": page})
            return
        if result.status == "skipped":
            say(f"Skipped: {state.message}")
        if result.potential is not None:
            typer.echo(result.potential.yace)


@app.command()
def status(campaign: CampaignArgument, as_json: JsonOption = False) -> None:
    """Show generations, sizes, errors and the current potential."""
    with errors_become_exit_codes(as_json):
        here = Campaign(campaign)
        overview = tables.overview(here)
        if as_json:
            print_json(overview)
        else:
            console.print(tables.generations_table(here.name, overview))
            for line in tables.where_things_are(overview):
                say(line)


@app.command()
def evaluate(
    campaign: CampaignArgument,
    data: Annotated[list[str] | None, typer.Argument(metavar="[DATA...]", help="Other DFT results.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the current potential's errors, on the fixed test set or on other DFT results."""
    with errors_become_exit_codes(as_json):
        here = Campaign(campaign)
        potential = Potential.current(here)
        if potential is None:
            shown = shlex.quote(str(campaign))
            raise InputError(
                f"{here.root} has no accepted potential; train one (mlip-train run {shown} DATA...), or see in "
                f"mlip-train status {shown} whether one is to be accepted"
            )
        errors, what = _errors_on(here, potential, data or [])
        if as_json:
            print_json({"potential": str(potential.yace), "on": what, "errors": errors.model_dump()})
        else:
            console.print(tables.errors_table(f"{potential.yace.name} on {what}", errors))


def _errors_on(campaign: Campaign, potential: Potential, data: list[str]) -> tuple[SplitErrors, str]:
    if data:
        elements = tuple(potential.record.reference_energies)
        batch = read_batch(data, frame_rules(campaign.config).model_copy(update={"elements": elements}))
        if batch.refusals:
            console.print("Left out:\n" + list_refusals(batch.refusals), markup=False)
        structures, what = iter(batch.structures), ", ".join(data)
    else:
        campaign.store.verify()
        structures = (stored.structure for stored in campaign.store.iterate("test"))
        what = "the fixed test set"
    energies = potential.record.reference_energies
    exported = Exported.of(potential.yace, potential.baseline)
    errors = summarise(compare_with_dft(exported, structures, energies)).errors
    if errors is None:
        raise NoUsableStructuresError(f"there is no structure to evaluate on in {what}")
    return errors, what


@app.command()
def compare(
    campaign: CampaignArgument, one: GenerationArgument, other: GenerationArgument, as_json: JsonOption = False
) -> None:
    """Compare two generations on exactly the same test structures: today's test set."""
    with errors_become_exit_codes(as_json):
        comparison = compare_generations(Campaign(campaign), one, other)
        if as_json:
            print_json(comparison.model_dump())
        else:
            console.print(tables.comparison_table(comparison))


@app.command()
def accept(campaign: CampaignArgument, generation: GenerationArgument, why: WhyOption = "") -> None:
    """Accept a rejected potential; the newest accepted one becomes current."""
    _decide(campaign, generation, why, accepted=True)


@app.command()
def reject(campaign: CampaignArgument, generation: GenerationArgument, why: WhyOption = "") -> None:
    """Reject a published potential; the next generation continues from the newest accepted one."""
    _decide(campaign, generation, why, accepted=False)


def _decide(campaign: Path, generation: int, why: str, *, accepted: bool) -> None:
    with errors_become_exit_codes():
        # pictures take a second to import
        from mlip_train.report import write_index, write_report

        here = Campaign(campaign)
        reason = why.encode(errors="replace").decode()  # a terminal of another encoding gives half characters
        decision = Decision(accepted=accepted, by=_who(), when=datetime.now(UTC), why=reason)
        with here.hold():
            potential = decide(here, generation, decision)
            try:
                write_report(here, generation)
                write_index(here)
            except (MlipTrainError, OSError) as error:  # it is decided by now
                say(f"The report could not be written: {error}")
        current = Potential.current(here)
        now = f"the current potential is {current.yace}" if current else "there is no current potential"
        say(f"Generation {generation} is {potential.record.state}; {now}")


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


@app.command()
def doctor() -> None:
    """Check the engine, versions, GPU and Prefect: what is missing and how to mend it."""
    from deployments.cli.doctor import examine

    findings = examine()
    console.print(tables.findings_table(findings))
    if not all(finding.good for finding in findings):
        raise typer.Exit(3)


@app.command()
def schema() -> None:
    """Print the JSON schema of campaign.yaml."""
    print_json(CampaignConfig.model_json_schema())
