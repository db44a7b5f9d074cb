"""The engine's Python package, imported without what it does to its host.

Importing pyace configures the root logger, after which every library in the process prints its
INFO messages. Import its names from here, so that logging stays what the program made it.
"""

import logging

_root = logging.getLogger()
_handlers, _level = list(_root.handlers), _root.level
try:
    from pyace import ACEBBasisSet, ACEBEvaluator, ACECalculator, BBasisConfiguration, PyACECalculator
    from pyace.atomicenvironment import aseatoms_to_atomicenvironment
    from pyace.maxvol import maxvol
    from pyace.multispecies_basisextension import create_multispecies_basis_config
    from pyace.preparedata import EnergyBasedWeightingPolicy
finally:
    _root.handlers[:] = _handlers
    _root.setLevel(_level)

__all__ = [
    "ACEBBasisSet",
    "ACEBEvaluator",
    "ACECalculator",
    "BBasisConfiguration",
    "EnergyBasedWeightingPolicy",
    "PyACECalculator",
    "aseatoms_to_atomicenvironment",
    "create_multispecies_basis_config",
    "maxvol",
]
