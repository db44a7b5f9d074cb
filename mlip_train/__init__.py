"""The science of a training campaign, usable alone: plain Python that never imports Prefect."""

from mlip_train.campaign import Campaign
from mlip_train.config import CampaignConfig
from mlip_train.dataset import DatasetStore
from mlip_train.errors import MlipTrainError
from mlip_train.potential import Potential

__all__ = ["Campaign", "CampaignConfig", "DatasetStore", "MlipTrainError", "Potential"]
