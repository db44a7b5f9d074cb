"""A published bundle, its calculators and its LAMMPS file."""
