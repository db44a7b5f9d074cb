from __future__ import annotations

import gzip
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import ConfigError, CorruptFileError, InputError, NoUsableStructuresError
from mlip_train.intake.accumulation import accumulate, list_refusals, preview
from mlip_train.records.refusal import Refusal
from tests.mlip_train.bundles import plain_record
from tests.mlip_train.frames import cluster, crystal, vasprun, with_results

EXAMPLE = Path(__file__).parents[3] / "examples" / "silicon"


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign.create(tmp_path / "c", "elements: [Si]\n")


def write(path: Path, *frames: Atoms) -> Path:
    ase.io.write(path, list(frames))
    return path


def bulk(path: Path, first: int = 0, last: int = 10) -> Path:
    """A file of silicon crystals, all different."""
    return write(path, *(crystal(a=5.3 + 0.01 * n) for n in range(first, last)))


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def quarantined(campaign: Campaign) -> list[Refusal]:
    files = sorted((campaign.root / "quarantine").glob("*.jsonl"))
    return [Refusal(**json.loads(line)) for file in files for line in file.read_text().splitlines()]


def test_a_batch_of_real_silicon_is_stored_and_split(campaign: Campaign) -> None:
    result = accumulate(campaign, [EXAMPLE / "batch_1.extxyz"])
    assert (result.generation, result.n_new, result.n_duplicates, result.n_refused) == (1, 54, 0, 0)
    assert (result.n_train, result.n_test) == (49, 5)
    assert result.dataset_hash == campaign.store.manifest.dataset_hash
    assert str(result) == (
        "54 new structures, 0 known already, 0 refused; the dataset holds 49 for training and 5 for testing"
    )
    assert quarantined(campaign) == []


def test_a_second_batch_starts_the_next_generation(campaign: Campaign, tmp_path: Path) -> None:
    accumulate(campaign, [bulk(tmp_path / "a.traj", 0, 10)])
    first = bytes_below(campaign.root)
    pinned = campaign.store.manifest.reference_energies
    result = accumulate(campaign, [bulk(tmp_path / "b.traj", 5, 15)])
    assert (result.generation, result.n_new, result.n_duplicates) == (2, 5, 5)
    assert (result.n_train, result.n_test) == (13, 2)
    assert campaign.store.manifest.reference_energies == pinned
    assert bytes_below(campaign.root)["dataset/gen_01.parquet"] == first["dataset/gen_01.parquet"]


def test_running_a_batch_again_changes_no_byte(campaign: Campaign, tmp_path: Path) -> None:
    batch = write(tmp_path / "a.extxyz", crystal(), crystal(a=5.5), crystal("Ge2"))
    first = accumulate(campaign, [batch])
    before = bytes_below(campaign.root)
    again = accumulate(campaign, [batch])
    assert (again.n_new, again.n_duplicates, again.n_refused) == (0, 2, 1)
    assert again.dataset_hash == first.dataset_hash
    assert bytes_below(campaign.root) == before


def test_known_structures_lead_to_the_generation_that_is_not_published(campaign: Campaign, tmp_path: Path) -> None:
    batch = bulk(tmp_path / "a.traj")
    assert accumulate(campaign, [batch]).generation == 1
    assert accumulate(campaign, [batch]).generation == 1
    plain_record(1).save(campaign.bundle_record(1))
    assert accumulate(campaign, [batch]).generation is None


def test_a_mixed_batch_goes_on_without_what_is_refused(campaign: Campaign, tmp_path: Path) -> None:
    mixed = write(tmp_path / "m.extxyz", crystal(), crystal("SiGe"), crystal(a=5.5), cluster("Si"))
    garbage = tmp_path / "g.traj"
    garbage.write_bytes(b"garbage")
    result = accumulate(campaign, [mixed, garbage])
    assert (result.generation, result.n_new, result.n_refused) == (1, 2, 3)
    refusals = quarantined(campaign)
    assert [(r.source, r.frame) for r in refusals] == [(str(mixed), 1), (str(mixed), 3), (str(garbage), None)]
    assert "it contains Ge" in refusals[0].reason
    assert result.refusals == tuple(refusals)


def test_a_contradiction_is_quarantined_and_the_first_result_kept(campaign: Campaign, tmp_path: Path) -> None:
    accumulate(campaign, [write(tmp_path / "a.extxyz", crystal(energy=-10.0))])
    result = accumulate(campaign, [write(tmp_path / "b.extxyz", crystal(energy=-11.0), crystal(a=5.5))])
    assert (result.n_new, result.n_refused) == (1, 1)
    assert f"known from {tmp_path}/a.extxyz frame 0 with other labels" in quarantined(campaign)[0].reason
    assert [item.structure.energy for item in campaign.store.iterate()] == [-10.0, -10.0]


def test_a_preview_counts_what_the_batch_then_brings_and_changes_nothing(
    campaign: Campaign, tmp_path: Path
) -> None:
    accumulate(campaign, [bulk(tmp_path / "a.traj", 0, 10)])
    before = bytes_below(campaign.root)
    more = [
        bulk(tmp_path / "b.traj", 5, 15),
        write(tmp_path / "c.extxyz", crystal("SiGe"), crystal(a=5.3, energy=-9)),
    ]
    garbage = tmp_path / "g.traj"
    garbage.write_bytes(b"garbage")
    seen = preview(campaign, [*more, garbage, tmp_path / "gone.traj"])
    assert bytes_below(campaign.root) == before
    assert "ASE cannot read it" in seen.unreadable[garbage]
    assert "does not exist" in seen.unreadable[tmp_path / "gone.traj"]
    assert len(seen.unreadable) == 2
    brought = accumulate(campaign, more)
    counts = {"n_new": 5, "n_duplicates": 5, "n_refused": 2}
    assert seen.brings.model_dump(include=set(counts)) == brought.model_dump(include=set(counts)) == counts
    assert seen.brings.refusals == brought.refusals


def test_a_batch_without_anything_usable_leaves_the_dataset(campaign: Campaign, tmp_path: Path) -> None:
    accumulate(campaign, [bulk(tmp_path / "a.traj")])
    before = bytes_below(campaign.root / "dataset")
    bad = write(tmp_path / "bad.extxyz", crystal("Ge2"), cluster("Si"))
    with pytest.raises(NoUsableStructuresError, match="the dataset was not changed") as caught:
        accumulate(campaign, [bad])
    assert f"{bad} frame 0: it contains Ge, but the campaign's elements are Si" in str(caught.value)
    assert f"{bad} frame 1: atom 0 has no neighbour" in str(caught.value)
    assert bytes_below(campaign.root / "dataset") == before
    assert [(r.source, r.frame) for r in quarantined(campaign)] == [(str(bad), 0), (str(bad), 1)]
    assert (campaign.root / "quarantine" / "gen_02.jsonl").is_file()


def test_no_sources_at_all_are_told_as_such(campaign: Campaign) -> None:
    with pytest.raises(InputError) as caught:
        accumulate(campaign, [])
    assert "isolated" not in str(caught.value)


def test_isolated_atoms_alone_are_not_enough(tmp_path: Path) -> None:
    campaign = Campaign.create(tmp_path / "c", "elements: [Si]\nreference_energies: isolated_atoms\n")
    with pytest.raises(NoUsableStructuresError, match=r"1 isolated atoms .* give them together with the first"):
        accumulate(campaign, [write(tmp_path / "atom.extxyz", cluster("Si"))])
    result = accumulate(campaign, [write(tmp_path / "all.extxyz", cluster("Si", energy=-0.8), crystal())])
    assert result.n_new == 1
    assert campaign.store.manifest.reference_energies == {"Si": -0.8}


@pytest.mark.parametrize(
    "energies", ["isolated_atoms", "{Si: -3.0}"], ids=["no isolated atom", "explicit energy changed"]
)
def test_energies_that_cannot_be_pinned_leave_the_dataset(
    campaign: Campaign, tmp_path: Path, energies: str
) -> None:
    campaign.config_file.write_text("elements: [Ge, Si]\nreference_energies: {Ge: -2.0, Si: -4.0}\n")
    accumulate(campaign, [write(tmp_path / "a.extxyz", crystal())])
    before = bytes_below(campaign.root / "dataset")
    campaign.config_file.write_text(
        f"elements: [Ge, Si]\nreference_energies: {energies.replace('}', ', Ge: -2.0}')}\n"
    )
    with pytest.raises(ConfigError, match="reference_energies"):
        accumulate(campaign, [write(tmp_path / "b.extxyz", crystal("SiGe", a=5.6))])
    assert bytes_below(campaign.root / "dataset") == before


def test_a_damaged_dataset_is_noticed_before_a_batch_is_added(campaign: Campaign, tmp_path: Path) -> None:
    accumulate(campaign, [bulk(tmp_path / "a.traj")])
    shard = campaign.root / "dataset" / "gen_01.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    before = bytes_below(campaign.root)
    with pytest.raises(CorruptFileError, match=r"gen_01.parquet"):
        accumulate(campaign, [bulk(tmp_path / "b.traj", 20, 30)])
    assert bytes_below(campaign.root) == before


def test_the_checks_of_the_campaign_are_applied(campaign: Campaign, tmp_path: Path) -> None:
    campaign.config_file.write_text("elements: [Si]\nchecks: {max_force: 0.3}\n")
    with pytest.raises(NoUsableStructuresError, match=r"above checks.max_force = 0.3"):
        accumulate(campaign, [write(tmp_path / "a.extxyz", crystal())])


def test_a_file_name_that_is_not_unicode_is_no_obstacle(campaign: Campaign, tmp_path: Path) -> None:
    path = write(tmp_path / "a.extxyz", crystal()).rename(tmp_path / os.fsdecode(b"caf\xe9.extxyz"))
    assert accumulate(campaign, [path]).n_new == 1


def test_a_long_list_of_refusals_is_cut_short(campaign: Campaign, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.traj", *[crystal("Ge2")] * 20)
    shown = (
        f"  {bad} frames 0-7: it contains Ge, but the campaign's elements are Si\n"
        "  ... and 12 more, see the campaign's quarantine"
    )
    result = accumulate(campaign, [bad, bulk(tmp_path / "good.traj")])
    assert result.list_refusals() == shown
    assert (result.n_refused, len(quarantined(campaign))) == (20, 20)
    with pytest.raises(NoUsableStructuresError) as caught:
        accumulate(campaign, [bad])
    assert shown in str(caught.value)


def test_refusals_are_told_by_file_and_reason() -> None:
    refused = [("a.traj", 0, "x"), ("a.traj", 1, "x"), ("a.traj", 2, "y"), ("b.traj", 3, "x"), ("b.traj", 5, "x")]
    refusals = [Refusal(source=source, frame=frame, reason=reason) for source, frame, reason in refused]
    refusals.append(Refusal(source="c.traj", frame=None, reason="z"))
    lines = ["a.traj frames 0-1: x", "a.traj frame 2: y", "b.traj frames 3, 5: x", "c.traj: z"]
    assert list_refusals(refusals).splitlines() == [f"  {line}" for line in lines]


def test_a_lost_manifest_is_not_taken_for_a_new_campaign(campaign: Campaign, tmp_path: Path) -> None:
    accumulate(campaign, [bulk(tmp_path / "a.traj")])
    campaign.generation(1).root.mkdir()
    (campaign.root / "dataset" / "manifest.json").unlink()
    before = bytes_below(campaign.root)
    with pytest.raises(CorruptFileError, match=r"does not list generation 1, .* restore manifest.json"):
        accumulate(campaign, [bulk(tmp_path / "b.traj", 20, 30)])
    assert bytes_below(campaign.root) == before


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("elements: [Ge]\n", r"elements: the dataset holds Si, which \['Ge'\] does not name; add it back, or"),
        (
            "elements: [Si]\nbasis: {cutoff: 2.3}\n",
            r"basis.cutoff: 2.3 Å leaves an atom of .*a.traj frame 1 without",
        ),
    ],
)
def test_a_configuration_that_the_dataset_does_not_fit_is_refused(
    campaign: Campaign, tmp_path: Path, changed: str, expected: str
) -> None:
    accumulate(campaign, [write(tmp_path / "a.traj", cluster(), crystal())])
    campaign.config_file.write_text(changed)
    before = bytes_below(campaign.root)
    with pytest.raises(ConfigError, match=expected):
        accumulate(campaign, [write(tmp_path / "b.traj", cluster("Ge2", distance=2.25))])
    assert bytes_below(campaign.root) == before


def test_a_smaller_cutoff_is_fine_while_every_atom_keeps_a_neighbour(campaign: Campaign, tmp_path: Path) -> None:
    accumulate(campaign, [write(tmp_path / "a.traj", crystal())])
    campaign.config_file.write_text("elements: [Ge, Si]\nbasis: {cutoff: 2.4}\n")
    assert accumulate(campaign, [write(tmp_path / "b.traj", cluster("Ge2"))]).n_new == 1
    assert [shard.cutoff for shard in campaign.store.manifest.shards] == [6.0, 2.4]


def test_a_damaged_potential_is_noticed_before_a_batch_is_added(campaign: Campaign, tmp_path: Path) -> None:
    campaign.current_pointer.write_text("{")
    before = bytes_below(campaign.root)
    with pytest.raises(CorruptFileError, match=r"current.json is not readable"):
        accumulate(campaign, [bulk(tmp_path / "a.traj")])
    assert bytes_below(campaign.root) == before


def text(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def edited(path: Path, old: str, new: str) -> None:
    write(path, crystal(a=5.9))
    changed = path.read_text().replace(old, new)
    assert new in changed
    path.write_text(changed)


def slab(path: Path) -> None:
    atoms = crystal(a=5.9)
    atoms.pbc = (True, True, False)
    write(path, atoms)


def moved(path: Path, position: float) -> None:
    atoms = crystal(a=5.9)
    atoms.positions[1] = position
    write(path, with_results(atoms, **atoms.calc.results))


FORCE = np.array([[0, 0, 0], [0, 0, 1.0]])
XYZ = '2\n{}Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="{}"\nSi 0 0 0 0 0 0\nSi 2 0 0 0 0 0\n'
WORST: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing.extxyz": (lambda p: None, "does not exist"),
    "empty_folder": (Path.mkdir, "no file that looks like DFT results"),
    "empty.extxyz": (lambda p: text(p, b""), "Empty file"),
    "noise.extxyz": (lambda p: text(p, np.random.default_rng(1).bytes(999)), "cannot read"),
    "login_page.xyz": (lambda p: text(p, "<html>Please log in</html>"), "cannot read"),
    "truncated.extxyz": (lambda p: text(p, XYZ.format("", "F F F")[:-12]), "cannot read"),
    "corrupt.extxyz.gz": (lambda p: text(p, gzip.compress(b"x" * 99)[:15] + b"\xff" * 20), "cannot read"),
    "noise.db": (lambda p: text(p, b"SQLite format 3\0" + b"\xff" * 500), "cannot read"),
    "train.pckl.gzip": (lambda p: text(p, gzip.compress(pickle.dumps([1]))), "it is a pickle"),
    "pickle.extxyz": (lambda p: text(p, pickle.dumps([1])), "it is a pickle"),
    "no_atoms.extxyz": (lambda p: text(p, "0\nenergy=0.0\n"), "frame 0: it contains no atoms"),
    "geometry.traj": (lambda p: write(p, Atoms("Si2", [[0, 0, 0], [2, 0, 0]])), "frame 0: it has no energy"),
    "renamed.extxyz": (lambda p: edited(p, "energy=", "REF_energy="), "frame 0: .* only REF_energy; rename"),
    "word.extxyz": (lambda p: edited(p, "energy=-10.0", "energy=n/a"), "frame 0: .*energy"),
    "nan.extxyz": (lambda p: edited(p, "energy=-10.0", "energy=nan"), "frame 0: its energy is nan"),
    "nan_force.traj": (lambda p: write(p, crystal(a=5.9, forces=FORCE * np.nan)), "frame 0: the force on atom 0"),
    "exploded.traj": (lambda p: write(p, crystal(a=5.9, forces=FORCE * 1e5)), "frame 0: the force on atom 1"),
    "nan_position.traj": (lambda p: moved(p, np.nan), "frame 0: positions or cell are not finite"),
    "on_top.traj": (lambda p: moved(p, 0.0), "frame 0: atom 0 is 0.000 Å from its neighbour"),
    "lonely.traj": (lambda p: write(p, cluster(distance=9.0)), "frame 0: atom 0 has no neighbour"),
    "slab.extxyz": (slab, "frame 0: it is periodic along a, b only"),
    "flat.extxyz": (
        lambda p: text(p, XYZ.format('Lattice="5 0 0 0 5 0 0 0 0" ', "T T T")), "frame 0: .* volume of 0 Å³"
    ),
    "foreign.traj": (lambda p: write(p, crystal("SiGe", a=5.9)), "frame 0: it contains Ge"),
    "unknown.extxyz": (
        lambda p: text(p, XYZ.format("", "F F F").replace("species:S", "Z:I").replace("Si", "200")), "frame 0: "
    ),
    "vasprun.xml": (lambda p: text(p, vasprun([crystal(a=5.9)], [60])), "frame 0: .* did not converge; finish it"),
    "contradiction.traj": (lambda p: write(p, crystal(a=5.3, energy=-9.0)), "frame 0: the same geometry is known"),
    "x" * 300: (lambda p: None, "does not exist"),
}  # fmt: skip
VERBS = "add|give|set|convert|remove|rename|finish|label|correct|check|repair|leave"
REMEDY = re.compile(rf"(?i)\b({VERBS})\b|campaign's elements are|checks\.")


@pytest.mark.parametrize("name", WORST)
def test_the_worst_inputs_are_told_by_name_and_change_nothing(
    campaign: Campaign, tmp_path: Path, name: str
) -> None:
    accumulate(campaign, [bulk(tmp_path / "good.traj")])
    before = bytes_below(campaign.root / "dataset")
    make, expected = WORST[name]
    make(tmp_path / name)
    with pytest.raises(InputError) as caught:
        accumulate(campaign, [tmp_path / name])
    message = str(caught.value).replace("the dataset was not changed", "")
    assert str(tmp_path / name) in message
    assert re.search(expected, message)
    assert REMEDY.search(message.replace(str(tmp_path), "")), f"no remedy in: {message}"
    assert bytes_below(campaign.root / "dataset") == before


READABLE_ENOUGH = [
    name for name, (_, expected) in WORST.items() if "exist" not in expected and "no file" not in expected
]


@pytest.mark.parametrize("name", READABLE_ENOUGH)
def test_the_worst_inputs_do_not_keep_good_ones_out(campaign: Campaign, tmp_path: Path, name: str) -> None:
    accumulate(campaign, [bulk(tmp_path / "first.traj", 0, 2)])
    make, expected = WORST[name]
    make(tmp_path / name)
    result = accumulate(campaign, [tmp_path / name, bulk(tmp_path / "good.traj", 2, 6)])
    assert (result.generation, result.n_new) == (2, 4)
    (refusal,) = quarantined(campaign)
    assert refusal.source == str(tmp_path / name)
    assert re.search(expected, f"frame {refusal.frame}: {refusal.reason}")
