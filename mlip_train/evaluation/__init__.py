"""Any potential against DFT, streamed."""
