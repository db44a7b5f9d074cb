"""From the selection of structures to the exported file."""
