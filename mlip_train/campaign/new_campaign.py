"""A campaign that a form, or a flow, makes with its first batch."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mlip_train.base.frozen import Frozen
from mlip_train.base.strict_yaml import load_yaml
from mlip_train.campaign.campaign import Campaign
from mlip_train.config.assessment import Gate, Physics
from mlip_train.config.basis import Basis, Element
from mlip_train.config.campaign_config import CampaignConfig, Checks, SplitRule
from mlip_train.config.engine import EnginePlace
from mlip_train.config.fit import ActiveSetRule, CommitteeRule, Fit, LossWeights, StartRule, Weights
from mlip_train.config.reference import ZBL, LennardJones, NoReference
from mlip_train.config.template import campaign_yaml
from mlip_train.errors import CampaignExistsError, ConfigError

__all__ = ["NewCampaign", "provide_campaign"]

_AS_PRESET = "None: as the preset says."
_AS_USUAL = "None: the defaults."


class NewCampaign(Frozen):
    """What a new campaign trains: the sections of campaign.yaml. Elements are enough."""

    elements: tuple[Element, ...] = Field(
        min_length=1, description="Chemical elements of the potential, one per item, for example Si."
    )
    preset: Literal["quick", "standard", "accurate"] = Field(
        "standard",
        description="Functions per element: 100 (quick), 1000 (standard), 1500 (accurate).",
    )
    # not `Reference`: a form has no words for a union inside of a union
    reference: NoReference | ZBL | LennardJones | None = Field(
        None, description="Keeps atoms apart where there are no data. None: ZBL, as `mlip-train init` writes it."
    )
    basis: Basis | None = Field(None, description=f"The ACE basis. {_AS_PRESET}")
    loss_weights: LossWeights | None = Field(None, description=f"Shares of the loss. {_AS_PRESET}")
    weights: Weights | None = Field(None, description=f"How often structures and atoms count. {_AS_USUAL}")
    fit: Fit | None = Field(None, description=f"Optimisation. {_AS_PRESET}")
    start: StartRule | None = Field(None, description=f"What fits begin from. {_AS_USUAL}")
    active_set: ActiveSetRule | None = Field(None, description=f"Which structures are learned. {_AS_USUAL}")
    test: SplitRule | None = Field(None, description=f"Which structures are kept for testing. {_AS_USUAL}")
    checks: Checks | None = Field(None, description=f"What DFT results must satisfy. {_AS_USUAL}")
    physics: Physics | None = Field(None, description=f"Checks of the potential itself. {_AS_USUAL}")
    gate: Gate | None = Field(None, description=f"When a potential becomes the current one. {_AS_USUAL}")
    committee: CommitteeRule | None = Field(None, description=f"Uncertainty of energies and forces. {_AS_USUAL}")
    # not `Engine`: Prefect keeps what a form was given, and its environment may hold secrets
    engine: EnginePlace | None = Field(None, description=f"Where Pacemaker runs. {_AS_USUAL}")

    def campaign_yaml(self) -> str:
        """The text of its campaign.yaml.

        Raises
        ------
        ConfigError
            When the sections do not go together.
        """
        said = self.model_dump(mode="json", exclude_unset=True)
        # a section that is None was left out of the form; None inside of one is a choice
        chosen = {key: value for key, value in said.items() if value is not None}
        return campaign_yaml(chosen.pop("elements"), chosen.pop("preset", self.preset), chosen)


def provide_campaign(root: str | Path, new: NewCampaign | None) -> Campaign:
    """The campaign at `root`; made first when it is new.

    Raises
    ------
    ConfigError
        When a campaign is there whose campaign.yaml says something else than `new`.
    MlipTrainError
        As `Campaign` and `Campaign.create`.
    """
    if new is None:
        return Campaign(root)
    text = new.campaign_yaml()
    try:
        return Campaign.create(root, text)
    except CampaignExistsError:  # another run may have made it this very moment
        known = Campaign(root)
    wanted = CampaignConfig.parse(load_yaml(text, "new_campaign"), "new_campaign")
    if wanted != known.config:
        keys = ", ".join(_differences(known.config, wanted))
        raise ConfigError(
            f"{known.root} is a campaign already, and its {Campaign.CONFIG} differs from new_campaign in {keys}; "
            f"leave new_campaign empty to train what {Campaign.CONFIG} says, and edit that file to change it"
        )
    return known


def _differences(known: CampaignConfig, wanted: CampaignConfig) -> list[str]:
    there: dict[str, Any] = known.model_dump()
    return [key for key, value in wanted.model_dump().items() if value != there[key]]
