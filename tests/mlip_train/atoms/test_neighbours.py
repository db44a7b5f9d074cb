from __future__ import annotations

import numpy as np

from mlip_train.atoms.neighbours import nearest_neighbour_distances
from tests.mlip_train.frames import cluster, crystal


def test_nearest_neighbours_are_found_in_the_open_and_across_the_boundary() -> None:
    np.testing.assert_allclose(nearest_neighbour_distances(cluster("Si3"), 5.5), 2.2)
    np.testing.assert_allclose(nearest_neighbour_distances(crystal(a=5.44), 5.5), 5.44 * 3**0.5 / 4)
    assert np.isinf(nearest_neighbour_distances(cluster("Si2", distance=6.0), 5.5)).all()
