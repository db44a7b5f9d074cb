"""Every way to start a flow."""
