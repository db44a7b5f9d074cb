"""What a person decides: campaign.yaml, its presets and its template."""
