"""campaign.yaml as it is read, and how it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mlip_train.config.campaign_config import CampaignConfig
from mlip_train.errors import ConfigError

__all__ = ["parse", "refusal"]


def parse(**values: Any) -> CampaignConfig:
    return CampaignConfig.parse({"elements": ["Si"], **values}, "some/campaign.yaml")


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(**values)
    return str(caught.value)
