"""A DFT result, its neighbours, its pair potentials."""
