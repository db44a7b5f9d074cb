"""Lets `python -m deployments.cli` do what mlip-train does."""

from deployments.cli import app

app()
