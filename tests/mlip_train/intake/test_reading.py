from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms

from mlip_train.errors import InputError
from mlip_train.intake import reading
from mlip_train.intake.frame_check import check_frame
from mlip_train.intake.reading import find_files, read_batch
from tests.mlip_train.frames import SILICON_ONLY, cluster, crystal, espresso, outcar, vasprun, with_results
from tests.mlip_train.intake.batches import STRESS, UNCONVERGED, read, reasons, steps, write

READ_BY_CODE: dict[str, Callable[..., str]] = {"vasprun.xml": vasprun, "OUTCAR": outcar, "pw.out": espresso}


@pytest.mark.parametrize(
    "name", ["r.extxyz", "r.xyz", "r.traj", "r.json", "r.db", "vasprun.xml", "OUTCAR", "pw.out"]
)
def test_results_survive_every_format(tmp_path: Path, name: str) -> None:
    frames, path = steps(), tmp_path / name
    if name in READ_BY_CODE:
        path.write_text(READ_BY_CODE[name](frames))
    else:
        write(path, frames)
    batch = read(path)
    assert batch.refusals == []
    for number, (stored, atoms) in enumerate(zip(batch.structures, frames, strict=True)):
        assert (stored.source, stored.frame) == (str(path), number)
        assert stored.symbols == ["Si", "Si"]
        assert stored.energy == pytest.approx(atoms.calc.results["energy"], abs=1e-5)
        np.testing.assert_allclose(stored.positions, atoms.positions, atol=1e-5)
        np.testing.assert_allclose(stored.cell, atoms.cell, atol=1e-5)
        np.testing.assert_allclose(stored.forces, atoms.calc.results["forces"], atol=1e-5)
        if name == "pw.out":
            assert stored.stress is None
        else:
            np.testing.assert_allclose(stored.stress, STRESS, atol=1e-7)


@pytest.mark.parametrize("name", ["r.extxyz", "vasprun.xml", "OUTCAR", "pw.out"])
def test_gzipped_text_is_read(tmp_path: Path, name: str) -> None:
    plain = write(tmp_path / "plain.extxyz").read_text()
    text = READ_BY_CODE[name](steps()) if name in READ_BY_CODE else plain
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert [s.energy for s in read(path).structures] == pytest.approx([-10.0, -9.0], abs=1e-5)


@pytest.mark.parametrize(("suffix", "compress"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_vasprun_compressed_in_another_way_is_read(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"vasprun.xml.{suffix}"
    path.write_bytes(compress(vasprun(steps(), [12, 60]).encode()))
    batch = read(path)
    assert len(batch.structures) == 1
    assert reasons(batch) == [UNCONVERGED]


def test_a_folder_gives_what_looks_like_results(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    write(tmp_path / "a.extxyz")
    (tmp_path / "b" / "OUTCAR").write_text(outcar(steps()))
    write(tmp_path / "b" / ".hidden.extxyz")
    assert find_files([tmp_path]) == [tmp_path / "a.extxyz", tmp_path / "b" / "OUTCAR"]


def test_linked_folders_are_searched(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = write(tmp_path / "elsewhere" / "a.extxyz")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    assert find_files([tmp_path / "runs"]) == [path]


def test_links_that_lead_back_do_not_go_on_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = os.walk

    def patient_walk(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, step in enumerate(walk(*arguments, **options)):
            assert number < 100, "two links make 2^40 paths"
            yield step

    monkeypatch.setattr(os, "walk", patient_walk)
    path = write(tmp_path / "a.extxyz")
    for name in ("here", "there"):
        (tmp_path / name).symlink_to(tmp_path)
    assert find_files([tmp_path]) == [path]


@pytest.mark.parametrize("n_cells", [1, 8])
def test_a_json_database_is_known_whatever_its_size(tmp_path: Path, n_cells: int) -> None:
    atoms = crystal() * (n_cells, n_cells, n_cells)
    with_results(atoms, energy=-5.0 * len(atoms), forces=np.random.default_rng(0).random((len(atoms), 3)))
    with ase.db.connect(tmp_path / "a.json") as database:
        database.write(atoms, config_type="liquid")
    assert [s.config_type for s in read(tmp_path).structures] == ["liquid"]


UNRELATED = {
    "README.md": "# 54 structures\n",
    "INCAR": "NELM = 60\nEDIFF = 1e-6\n",
    "POSCAR": "Si\n1.0\n3 0 0\n0 3 0\n0 0 3\nSi\n1\ndirect\n0 0 0\n",
    "run.sh": "#!/bin/sh\nmpirun vasp_std\n",
    "pw.in": "&control\n/\n&system\n ibrav=0\n/\n",
    "notes.txt": "see the paper\n",
    "notes.json": '{"author": "me"}\n',
    "slurm-1234.out": "loading modules\n",
    "vasp.log": " running on   16 total cores\n",
}


@pytest.mark.parametrize("name", UNRELATED)
def test_an_unrelated_file_in_a_folder_is_ignored(tmp_path: Path, name: str) -> None:
    write(tmp_path / "results.extxyz")
    (tmp_path / name).write_text(UNRELATED[name])
    batch = read(tmp_path)
    assert len(batch.structures) == 2
    assert batch.refusals == []


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_vasprun_is_preferred_to_the_outcar_beside_it_only(tmp_path: Path, suffix: str) -> None:
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "OUTCAR").write_text(outcar(steps()))
    xml = tmp_path / "one" / f"vasprun.xml{suffix}"
    text = vasprun(steps()).encode()
    xml.write_bytes(gzip.compress(text) if suffix else text)
    assert find_files([tmp_path]) == [xml, tmp_path / "two" / "OUTCAR"]
    assert len(find_files([xml, xml.parent / "OUTCAR"])) == 2


def test_glob_patterns_are_expanded_in_order(tmp_path: Path) -> None:
    for folder in ("deep/er", "run_1"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("b.extxyz", "a.extxyz", "c.traj", "deep/er/d.extxyz"):
        write(tmp_path / name)
    (tmp_path / "run_1" / "OUTCAR").write_text(outcar(steps()))
    assert [p.name for p in find_files([f"{tmp_path}/*.extxyz"])] == ["a.extxyz", "b.extxyz"]
    assert [p.name for p in find_files([f"{tmp_path}/**/*.extxyz"])] == ["a.extxyz", "b.extxyz", "d.extxyz"]
    assert [p.name for p in find_files([f"{tmp_path}/run_[0-9]"])] == ["OUTCAR"]


def test_a_file_named_in_many_ways_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.extxyz")
    (tmp_path / "link.extxyz").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    batch = read(path, str(path), "a.extxyz", "./a.extxyz", "*.extxyz", "link.extxyz", tmp_path)
    assert len(batch.structures) == 2


def test_the_order_of_the_arguments_is_kept(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.extxyz"), write(tmp_path / "b.extxyz")
    assert find_files([b, a]) == [b, a]


@pytest.mark.parametrize(
    "name", ["missing.extxyz", "no/such/folder", "*.extxyz", "~no_such_user/a.extxyz", "x" * 300]
)
def test_a_path_to_nothing_is_named(tmp_path: Path, name: str) -> None:
    source = name if name.startswith("~") else str(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / "good.traj"), source)
    assert source in str(caught.value)
    assert "Give files that ASE can read" in str(caught.value)


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(InputError, match=r"an empty name was given .* Give files that ASE can read"):
        read("")


@pytest.mark.parametrize("content", [{}, {"README.md": "hello"}, {"sub/POSCAR": UNRELATED["POSCAR"]}])
def test_a_folder_without_results_is_named(tmp_path: Path, content: dict[str, str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=r"run contains no file that looks like DFT results. Give files"):
        read(folder)


@pytest.mark.parametrize(
    "name", ["a@1.extxyz", "b @-1.traj", "with space.extxyz", "run[1]*?.extxyz", "Å ü 硅.extxyz"]
)
def test_odd_file_names_are_taken_literally(tmp_path: Path, name: str) -> None:
    ase.io.write(tmp_path / "plain.traj" if name.endswith("traj") else tmp_path / "plain.extxyz", steps())
    next(tmp_path.iterdir()).rename(tmp_path / name)
    assert len(read(tmp_path / name).structures) == 2
    assert len(read(tmp_path).structures) == 2


def test_an_odd_folder_name_is_taken_literally(tmp_path: Path) -> None:
    folder = tmp_path / "run[1] @2*"
    folder.mkdir()
    write(folder / "a.extxyz")
    assert len(read(folder).structures) == 2


def damaged(name: str) -> bytes:
    xyz = b"2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0\nSi 0 0 0 0 0 0\nSi 2 0 0 0 0 0\n"
    packed = bytearray(gzip.compress(xyz * 50))
    match name:
        case "empty.extxyz" | "empty.traj" | "empty.db" | "OUTCAR":
            return b""
        case "cut.extxyz":
            return xyz[:-10]
        case "vasprun.xml":
            return vasprun(steps()).encode()[:300]
        case "cut.extxyz.gz":
            return bytes(packed[:-20])
        case "flipped.extxyz.gz":
            packed[20:40] = b"\xff" * 20
            return bytes(packed)
        case "no.extxyz.gz" | "no.extxyz.xz" | "no.extxyz.bz2" | "text.db":
            return xyz
        case "page.extxyz":
            return b"<html><body>Please log in</body></html>"
        case "unknown_element.extxyz":
            return xyz.replace(b"Si", b"Qq")
        case _:
            return np.random.default_rng(0).bytes(999)


DAMAGED = [
    "empty.extxyz", "empty.traj", "empty.db", "OUTCAR", "cut.extxyz", "vasprun.xml", "cut.extxyz.gz",
    "flipped.extxyz.gz", "no.extxyz.gz", "no.extxyz.xz", "no.extxyz.bz2", "text.db", "page.extxyz",
    "unknown_element.extxyz", "noise.extxyz", "noise.traj", "noise.json", "noise.db", "noise.out", "noise",
]  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_one_damaged_file_does_not_stop_the_others(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(name))
    before, good = write(tmp_path / "a.traj"), write(tmp_path / "z.traj")
    batch = read(before, path, good)
    assert [s.source for s in batch.structures] == [str(before)] * 2 + [str(good)] * 2
    assert [(r.source, r.frame) for r in batch.refusals] == [(str(path), None)]
    assert reasons(batch)[0]
    assert path.read_bytes() == damaged(name)


def test_a_damaged_file_does_not_stop_the_search_of_its_folder(tmp_path: Path) -> None:
    for name in DAMAGED:
        (tmp_path / name).write_bytes(damaged(name))
    write(tmp_path / "good.traj")
    assert len(read(tmp_path).structures) == 2


@pytest.mark.parametrize("comment", ["energy=n/a", "energy=-1.0 key_value_pairs=none", 'energy="-1.0 -2.0"'])
def test_one_odd_frame_does_not_stop_the_others(tmp_path: Path, comment: str) -> None:
    path = write(tmp_path / "a.extxyz", steps(3))
    path.write_text(path.read_text().replace("energy=-9.0", comment))
    batch = read(path)
    assert {s.frame for s in batch.structures} >= {0, 2}


def test_a_frame_that_the_check_did_not_foresee_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(atoms: Atoms, *arguments: Any, **options: Any) -> Any:
        if arguments[2] == 1:
            raise ZeroDivisionError("what is this?")
        return check_frame(atoms, *arguments, **options)

    monkeypatch.setattr(reading, "check_frame", stumble)
    batch = read(write(tmp_path / "a.extxyz", steps(3)))
    assert [s.frame for s in batch.structures] == [0, 2]
    assert "ZeroDivisionError: what is this?" in reasons(batch)[0]


@pytest.mark.timeout(5)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.extxyz")
    write(tmp_path / "good.traj")
    batch = read(tmp_path / "a.extxyz", tmp_path)
    assert len(batch.structures) == 2
    assert "it is not a regular file" in reasons(batch)[0]


def test_atomic_numbers_of_no_element_do_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.extxyz"
    frame = "2\nProperties=Z:I:1:pos:R:3:forces:R:3 energy=-1.0\n14 0 0 0 0 0 0\n{} 2 0 0 0 0 0\n"
    path.write_text(frame.format(200) + frame.format(14))
    batch = read(path)
    assert [s.frame for s in batch.structures] == [1]
    assert [r.frame for r in batch.refusals] == [0]


class Trap:
    """Its pickle, when loaded, makes a directory."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


PICKLES = [
    *itertools.product(["a.pkl", "a.pickle", "a.pckl", "a.pckl.gzip", "a.pkl.gz"], [0, 5]),
    *itertools.product(["a", "a.extxyz", "a.traj", "a.db", "a.xyz.gz"], [2, 5]),
]


@pytest.mark.parametrize(("name", "protocol"), PICKLES)
def test_pickles_are_refused_unopened_whatever_their_name(tmp_path: Path, name: str, protocol: int) -> None:
    mark, path = tmp_path / "mark", tmp_path / name
    data = pickle.dumps(Trap(mark), protocol=protocol)
    path.write_bytes(gzip.compress(data) if name.endswith(("gz", "gzip")) else data)
    good = write(tmp_path / "good.traj")
    batch = read(path, good)
    assert not mark.exists()
    assert len(batch.structures) == 2
    assert [r.source for r in batch.refusals] == [str(path)]
    assert "it is a pickle, and loading one runs whatever code it holds" in reasons(batch)[0]
    assert "ase.io.write('data.extxyz', frames)" in reasons(batch)[0]
    pickle.loads(data)
    assert mark.exists(), "the trap does not work"


def test_a_pickle_in_a_folder_is_refused_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "data.pckl.gzip").write_bytes(gzip.compress(pickle.dumps([1])))
    assert "it is a pickle" in reasons(read(tmp_path))[0]


def test_outcomes_keep_the_order_of_files_and_frames(tmp_path: Path) -> None:
    mixed = write(tmp_path / "m.extxyz", [crystal(), crystal("Ge2"), cluster("Si"), crystal(a=5.5)])
    batch = read_batch([mixed], SILICON_ONLY.model_copy(update={"use_isolated_atoms": True}))
    assert [s.frame for s in batch.structures] == [0, 3]
    assert [a.frame for a in batch.isolated_atoms] == [2]
    assert [r.frame for r in batch.refusals] == [1]


def test_hidden_folders_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    write(tmp_path / ".ipynb_checkpoints" / "a.extxyz")
    path = write(tmp_path / "a.extxyz")
    assert find_files([tmp_path]) == [path]
