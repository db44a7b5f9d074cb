"""How DFT results come in: formats, convergence, frame checks, the inbox."""
