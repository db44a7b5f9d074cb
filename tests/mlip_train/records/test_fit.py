from __future__ import annotations

from mlip_train.records.fit import LinearSolution

SOLUTION = LinearSolution(
    n_structures=2, n_functions=3, ridge=1e-8, loss=0.1, energy_rmse=0.01, force_rmse=0.1, seconds=1.0
)


def test_a_solution_says_when_the_engines_own_evaluator_was_needed() -> None:
    assert "much slower" not in str(SOLUTION)
    slow = SOLUTION.model_copy(update={"lacking": "a core repulsion"})
    assert str(slow).endswith("which is much slower: the basis has a core repulsion")
