"""The engine's Python package, imported without what it does to its host.

Importing pyace configures the root logger, after which every library in the process prints its
INFO messages. Import its names from here, so that logging stays what the program made it.
"""

from __future__ import annotations

import logging

_root = logging.getLogger()
_handlers, _level = list(_root.handlers), _root.level
try:
    from pyace import ACEBBasisSet, BBasisConfiguration, PyACECalculator
finally:
    _root.handlers[:] = _handlers
    _root.setLevel(_level)

__all__ = ["ACEBBasisSet", "BBasisConfiguration", "PyACECalculator"]
