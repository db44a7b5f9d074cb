"""The science of a training campaign, usable alone: plain Python that never imports Prefect."""

from mlip_train.campaign.campaign import Campaign
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import MlipTrainError
from mlip_train.fit.training import train  # beside it, the engine finds its callbacks in this package
from mlip_train.potential.potential import Potential

__all__ = ["Campaign", "CampaignConfig", "DatasetStore", "MlipTrainError", "Potential", "train"]
