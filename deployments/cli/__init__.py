"""The command line: mlip-train."""

from deployments.cli.commands import app

__all__ = ["app"]
