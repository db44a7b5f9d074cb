from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from mlip_train.atoms.approaches import closest_approaches
from mlip_train.atoms.pairs import contact_distance
from tests.mlip_train.alloys import aluminium_nickel, checked
from tests.mlip_train.frames import structure, with_results


def test_pairs_that_never_meet_are_known_down_to_where_their_atoms_touch() -> None:
    alloy = [s for s in checked(aluminium_nickel(8)) if len(set(s.symbols)) == 1]
    found = closest_approaches(alloy, ["Al", "Ni"], 5.0)
    assert found["Al-Ni"].edge == contact_distance("Al-Ni")
    assert found["Al-Ni"].collision is None
    distances = [s.to_atoms().get_all_distances(mic=True) for s in alloy if s.symbols[0] == "Al"]
    assert found["Al-Al"].shortest <= min(d[d > 0].min() for d in distances) + 1e-9


def test_pairs_that_meet_far_apart_are_known_no_farther_than_where_they_touch() -> None:
    far = with_results(Atoms("AlNi", positions=[[0, 0, 0], [0, 0, 3.5]]), energy=0.0, forces=np.zeros((2, 3)))
    approach = closest_approaches([structure(far)], ["Al", "Ni"], 5.0)["Al-Ni"]
    assert (approach.shortest, approach.edge) == (pytest.approx(3.5), contact_distance("Al-Ni"))
