from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlip_train.atoms.structure import Structure
from mlip_train.campaign.dataset import DatasetStore
from mlip_train.errors import CorruptFileError
from mlip_train.records.manifest import Shard
from tests.mlip_train.frames import cluster, crystal, structure

ENERGIES = {"Si": -4.5, "Ge": -3.25}
finite = st.floats(allow_nan=False, allow_infinity=False)
lengths = st.floats(-1e6, 1e6)


@st.composite
def any_structure(draw: st.DrawFn) -> Structure:
    n_atoms, periodic = draw(st.integers(1, 5)), draw(st.booleans())
    return Structure(
        numbers=np.array(draw(st.lists(st.sampled_from([14, 32]), min_size=n_atoms, max_size=n_atoms)), np.int32),
        positions=draw(arrays(float, (n_atoms, 3), elements=lengths)),
        cell=draw(arrays(float, (3, 3), elements=lengths)) if periodic else np.zeros((3, 3)),
        pbc=np.full(3, periodic),
        energy=draw(finite),
        forces=draw(arrays(float, (n_atoms, 3), elements=finite)),
        stress=draw(st.none() | arrays(float, 6, elements=finite)),
        config_type=draw(st.text(st.characters(codec="utf-8"), max_size=8)),
        source=draw(st.text(st.characters(codec="utf-8"), max_size=8)),
        frame=draw(st.integers(0, 2**31 - 1)),
        weight=draw(st.floats(0, 9)),
        atom_weights=draw(st.none() | arrays(float, n_atoms, elements=st.floats(0, 9))),
    )


def lattice(*constants: float, **results: Any) -> list[Structure]:
    return [structure(crystal(a=a, **results)) for a in constants]


def put(
    store: DatasetStore, structures: Sequence[Structure], generation: int = 1, fraction: float = 0.25
) -> Shard:
    splits = store.splits_for(structures, fraction, stratified=True)
    return store.append(structures, splits, generation, ENERGIES, 5.5)


def bits(one: Structure) -> list[Any]:
    """Everything a structure holds, floats by their bytes."""
    values = [getattr(one, field.name) for field in dataclasses.fields(one)]
    return [(v.dtype.str, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "dataset")


@settings(max_examples=25)
@given(batches=st.lists(st.lists(any_structure(), min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_digit_comes_back(tmp_path_factory: pytest.TempPathFactory, batches: list[list[Structure]]) -> None:
    directory = tmp_path_factory.mktemp("store")
    stored = []
    for generation, batch in enumerate(batches, 1):
        store = DatasetStore(directory)
        new = store.sort_out(batch).new
        put(store, new, generation)
        stored += [(bits(one), generation) for one in new]
    read = list(DatasetStore(directory).iterate())
    assert [(bits(item.structure), item.generation) for item in read] == stored


def test_earlier_shards_are_never_touched(store: DatasetStore) -> None:
    put(store, lattice(5.3, 5.4), 1)
    first = (store.directory / "gen_01.parquet").read_bytes()
    put(store, lattice(5.5), 2)
    put(store, lattice(5.6), 7)
    assert (store.directory / "gen_01.parquet").read_bytes() == first
    assert [shard.file for shard in store.manifest.shards] == [
        "gen_01.parquet",
        "gen_02.parquet",
        "gen_07.parquet",
    ]
    assert store.generations == [1, 2, 7]
    assert len(store) == 4


def test_every_source_is_listed_with_the_newest_generation_it_fed(store: DatasetStore) -> None:
    put(store, [structure(crystal(a=a), source=source) for a, source in ((5.1, "a"), (5.2, "b"), (5.3, "b"))])
    put(store, [structure(crystal(a=5.4), source="a")], 2)
    assert store.sources() == {"a": 2, "b": 1}


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_stored_generation_cannot_be_written_again(store: DatasetStore, generation: int) -> None:
    put(store, lattice(5.3), 2)
    before = content(store.directory)
    with pytest.raises(ValueError, match="is not after 2"):
        put(store, lattice(5.5), generation)
    assert content(store.directory) == before


def test_duplicates_are_counted_not_kept(store: DatasetStore) -> None:
    put(store, lattice(5.3, 5.4))
    result = DatasetStore(store.directory).sort_out(lattice(5.4, 5.5, 5.5, 5.3))
    assert [one.cell[0, 1] for one in result.new] == [2.75]
    assert result.n_duplicates == 3
    assert result.contradictions == []


@pytest.mark.parametrize(
    ("results", "differences"),
    [
        ({"energy": -10.01}, ("differs by -0.01 eV", "up to 0 eV/Å")),
        ({"forces": np.zeros((2, 3))}, ("differs by +0 eV", "up to 0.3 eV/Å")),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
def test_other_labels_of_one_geometry_are_a_contradiction(
    store: DatasetStore, results: dict[str, Any], differences: tuple[str, str], stored: bool
) -> None:
    first = structure(crystal(), source="first.extxyz", frame=4)
    other = structure(crystal(**results), source="other.extxyz", frame=5)
    if stored:
        put(store, [first])
    result = store.sort_out([other] if stored else [first, other])
    assert (len(result.new), result.n_duplicates) == (0 if stored else 1, 0)
    (refusal,) = result.contradictions
    assert (refusal.source, refusal.frame) == ("other.extxyz", 5)
    assert "known from first.extxyz frame 4 with other labels" in refusal.reason
    assert all(difference in refusal.reason for difference in differences)
    assert "Label all structures with the same DFT settings" in refusal.reason


def test_noise_in_the_labels_is_a_duplicate(store: DatasetStore) -> None:
    put(store, lattice(5.4))
    assert store.sort_out(lattice(5.4, energy=-10.0 + 1e-7)).n_duplicates == 1


def test_the_last_steps_of_a_relaxation_are_no_contradictions(store: DatasetStore) -> None:
    put(store, lattice(5.44))
    step = crystal(a=5.44, energy=-10.0 - 4e-7, forces=np.array([[0.1001, -0.2, 0.3], [-0.1001, 0.2, -0.3]]))
    step.positions[0, 0] += 2e-5
    result = store.sort_out([structure(step)])
    assert result.contradictions == []


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, Path.unlink])
@pytest.mark.parametrize("file", ["gen_01.parquet", "gen_02.parquet"])
def test_a_damaged_shard_is_found_and_named(store: DatasetStore, file: str, damage: Any) -> None:
    put(store, lattice(5.3), 1)
    put(store, lattice(5.4), 2)
    DatasetStore(store.directory).verify()
    damage(store.directory / file)
    with pytest.raises(CorruptFileError, match=rf"{file} .*restore it from a backup"):
        DatasetStore(store.directory).verify()


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"format": 1, "shards": 3}', '{"format": 1, "shard": []}', "\xff", "NaN"]
)
def test_an_unreadable_manifest_is_named(store: DatasetStore, text: str) -> None:
    put(store, lattice(5.3))
    (store.directory / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(
        CorruptFileError, match=r"(?s)manifest.json is not a readable manifest .*restore it from a backup"
    ):
        DatasetStore(store.directory)


def test_what_is_wrong_with_a_manifest_is_told_in_plain_words(store: DatasetStore) -> None:
    put(store, lattice(5.3))
    (store.directory / "manifest.json").write_text('{"shards": 3}')
    with pytest.raises(CorruptFileError, match="shards: Input should be a valid") as caught:
        DatasetStore(store.directory)
    assert "pydantic" not in str(caught.value)


def test_a_manifest_of_a_later_format_is_refused(store: DatasetStore) -> None:
    put(store, lattice(5.3))
    path = store.directory / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(CorruptFileError, match="format"):
        DatasetStore(store.directory)


@pytest.mark.parametrize("n_before", [0, 1])
def test_a_crash_between_shard_and_manifest_leaves_the_old_dataset(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch, n_before: int
) -> None:
    if n_before:
        put(store, lattice(5.3), 1)
    before = store.manifest

    def crash(*_: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mlip_train.base.frozen.write_atomically", crash)
        with pytest.raises(OSError, match="No space"):
            put(store, lattice(5.4, 5.5), n_before + 1)

    again = DatasetStore(store.directory)
    again.verify()
    assert again.manifest == store.manifest == before
    assert len(list(again.iterate())) == n_before
    put(again, lattice(5.6), n_before + 1)
    again.verify()
    assert [item.structure.cell[0, 1] for item in again.iterate()][n_before:] == [2.8]


def test_a_crash_within_a_shard_leaves_nothing(store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, lattice(5.3), 1)
    before = content(store.directory)

    def crash(_: Any, path: Path, **__: Any) -> None:
        path.write_bytes(b"PAR1")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", crash)
    with pytest.raises(OSError, match="No space"):
        put(store, lattice(5.4), 2)
    assert content(store.directory) == before


def test_a_shard_has_the_documented_columns(store: DatasetStore) -> None:
    put(store, [*lattice(5.3, stress=np.arange(6.0)), structure(cluster())])
    table = pq.read_table(store.directory / "gen_01.parquet")
    vectors = "list<element: fixed_size_list<element: double>[3]>"
    assert {field.name: str(field.type) for field in table.schema} == {
        "structure_id": "string",
        "numbers": "list<element: int32>",
        "positions": vectors,
        "cell": "fixed_size_list<element: fixed_size_list<element: double>[3]>[3]",
        "pbc": "fixed_size_list<element: bool>[3]",
        "energy": "double",
        "forces": vectors,
        "stress": "list<element: double>",
        "config_type": "string",
        "generation": "int32",
        "split": "string",
        "source": "string",
        "frame": "int32",
        "weight": "double",
        "atom_weights": "list<element: double>",
    }
    assert [field.name for field in table.schema if field.nullable] == ["stress", "weight", "atom_weights"]
    assert table["stress"].to_pylist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], None]


def test_the_manifest_describes_its_shards(store: DatasetStore) -> None:
    frames = [crystal(a=5.3), crystal("SiGe", a=5.4), crystal(a=5.5), cluster("Si3")]
    for atoms, name in zip(frames, ["bulk", "bulk", "bulk", "molecule"], strict=True):
        atoms.info["config_type"] = name
    put(store, [structure(atoms) for atoms in frames], fraction=0.25)
    (shard,) = DatasetStore(store.directory).manifest.shards
    assert shard.structures == {"train": 3, "test": 1}
    assert shard.atoms_by_element == {"Ge": 1, "Si": 8}
    assert shard.cutoff == 5.5
    assert shard.config_types == {"train": {"bulk": 2, "molecule": 1}, "test": {"bulk": 1}}
    assert (store.count("train"), store.count("test"), len(store)) == (3, 1, 4)
    for split in ("train", "test"):
        read = list(store.iterate(split))
        assert len(read) == store.count(split)
        assert {item.split for item in read} == {split}
    assert store.manifest.reference_energies == ENERGIES


def test_a_structure_is_read_back_for_comparison_from_any_shard(store: DatasetStore) -> None:
    for generation, a in enumerate((5.3, 5.4, 5.5), 1):
        put(store, lattice(a), generation)
    assert store.sort_out(lattice(5.5, 5.3, 5.4)).n_duplicates == 3


def test_the_dataset_hash_depends_on_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []
    for name, now in (("one", 1e9), ("two", 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        store = DatasetStore(tmp_path / name)
        put(store, lattice(5.3, 5.4), 1)
        put(store, lattice(5.5), 2)
        hashes.append(DatasetStore(tmp_path / name).manifest.dataset_hash)
    assert hashes[0] == hashes[1]


def test_the_dataset_hash_sees_structures_and_reference_energies(tmp_path: Path) -> None:
    hashes = [DatasetStore(tmp_path / "empty").manifest.dataset_hash]
    for name, a, energies in (("a", 5.3, ENERGIES), ("b", 5.4, ENERGIES), ("c", 5.3, {"Si": -4.0, "Ge": -3.25})):
        store, structures = DatasetStore(tmp_path / name), lattice(a)
        store.append(structures, {structures[0].structure_id: "train"}, 1, energies, 5.5)
        hashes.append(store.manifest.dataset_hash)
    assert len(set(hashes)) == 4
