from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ase import Atoms

from mlip_train.base.campaigns_root import VARIABLE, resolve_inside
from mlip_train.campaign.campaign import Campaign
from mlip_train.errors import CampaignNotFoundError, InputError
from mlip_train.intake.inbox import Inbox
from mlip_train.intake.reading import find_files
from mlip_train.intake.staging import stage_dft_results

YAML = "elements: [Si]\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaigns' root, reached by a link, beside which another directory lies."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").symlink_to("disk")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def outside(root: Path, write_frames: Callable[[Path, int, int], Path]) -> Path:
    """A directory beside the root with a campaign and data in it."""
    folder = root.parent / "outside"
    (folder / "campaign.yaml").write_text(YAML)
    write_frames(folder / "data.extxyz", 0, 2)
    return folder


def assert_refused(source: str | Path, root: Path, *named: str) -> None:
    with pytest.raises(InputError) as caught:
        find_files([source])
    for told in (f"{VARIABLE} = {root.resolve()}", f"give a path below {root.resolve()}", *named):
        assert told in str(caught.value)


def test_a_campaign_lies_below_the_root(root: Path, outside: Path) -> None:
    made = Campaign.create(root / "groups" / "silicon", YAML)
    assert made.root == root.resolve() / "groups" / "silicon"
    assert Campaign(made.root).name == "silicon"
    for path in (outside, root / ".." / "outside", root / "groups" / ".." / ".." / "outside", "/", outside.name):
        with pytest.raises(InputError, match=f"{VARIABLE} = ") as caught:
            Campaign(path)
        assert str(path) in str(caught.value)
        assert not isinstance(caught.value, CampaignNotFoundError)


def test_no_campaign_is_made_outside(root: Path) -> None:
    target = root.parent / "outside" / "silicon"
    with pytest.raises(InputError, match=VARIABLE):
        Campaign.create(target, YAML)
    assert not target.exists()


def test_a_link_that_leads_out_is_outside(root: Path, outside: Path) -> None:
    (root / "linked").symlink_to(outside)
    (root / "data.extxyz").symlink_to(outside / "data.extxyz")
    (root / "folder").mkdir()
    (root / "folder" / "more").symlink_to(outside)
    with pytest.raises(InputError, match=VARIABLE):
        Campaign(root / "linked")
    for source in (
        "data.extxyz",
        "linked",
        "folder",
        "linked/data.extxyz",
        "*.extxyz",
        "f*/more/*",
        "**/*.extxyz",
    ):
        assert_refused(root / source, root, str(outside))


def test_a_link_that_stays_within_is_followed(root: Path, outside: Path) -> None:
    shutil.copy(outside / "data.extxyz", root / "data.extxyz")
    (root / "link").symlink_to("data.extxyz")
    assert find_files([root / "link", root / "*.extxyz"]) == [(root / "data.extxyz").resolve()]


@pytest.mark.parametrize("there", [True, False])
def test_what_lies_outside_is_not_even_told_to_exist(root: Path, outside: Path, there: bool) -> None:
    name = "data.extxyz" if there else "nothing.extxyz"
    for source in (outside / name, root / ".." / "outside" / name):
        assert_refused(source, root, str(source), str(outside / name))
    for pattern in (outside / "*" / name, outside.parent / "*" / name, f"{root}/../outside/{name[:3]}*"):
        assert_refused(pattern, root)


def test_a_pattern_does_not_climb(root: Path, outside: Path) -> None:
    (root / "folder").mkdir()
    for pattern in ("*/../../outside/data.extxyz", "[f]older/../*", "**/../outside/*"):
        with pytest.raises(InputError, match="write the pattern without"):
            find_files([root / pattern])


@pytest.mark.parametrize("pattern", ["*.extxyz", "d?ta.extxyz"])
def test_relative_patterns_are_judged_where_they_lead(
    root: Path, outside: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(outside)
    assert_refused(pattern, root, str(outside))
    shutil.copy(outside / "data.extxyz", root)
    monkeypatch.chdir(root)
    assert find_files([pattern]) == [(root / "data.extxyz").resolve()]


def test_a_name_that_only_begins_like_the_root_is_outside(root: Path) -> None:
    (root.parent / "disk2").mkdir()
    with pytest.raises(InputError, match="disk2"):
        resolve_inside(root.parent / "disk2")


@pytest.mark.parametrize("value", ["", "nowhere", "/nowhere/at/all", __file__])
def test_a_root_that_is_no_directory_lets_nothing_pass(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InputError, match="unset MLIP_CAMPAIGNS_ROOT") as caught:
        resolve_inside("/tmp")  # noqa: S108 - any path
    assert repr(value) in str(caught.value)


def test_without_a_root_every_path_is_allowed(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    assert Campaign(outside).root == outside
    assert find_files([outside]) == [outside / "data.extxyz"]


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "a\0b", "a" * 300])
def test_a_path_that_cannot_be_looked_up_is_told(path: str, root: Path) -> None:
    inside = root / path if path.startswith("a" * 9) else path
    with pytest.raises(InputError, match="cannot be looked up"):
        resolve_inside(inside)


def test_a_pattern_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be looked up"):
        find_files([tmp_path / "a\0b" / "*"])


@pytest.mark.parametrize("part", ["campaign.yaml", "inbox", "dataset", "potentials"])
def test_what_is_linked_into_a_campaign_lies_below_the_root(root: Path, outside: Path, part: str) -> None:
    made = Campaign.create(root / "silicon", YAML)
    (made.root / part).rename(made.root / "moved")
    (made.root / part).symlink_to(outside / part)
    with pytest.raises(InputError, match=f"{part} leads to {outside / part}, outside of {VARIABLE}"):
        Campaign(made.root)


def test_nothing_is_moved_through_an_inbox_that_leads_out(root: Path, outside: Path) -> None:
    inbox = Inbox(Campaign.create(root / "silicon", YAML))
    inbox.refused.symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(InputError, match=VARIABLE), inbox.hold():
        pass
    assert sorted(outside.rglob("*")) == before


def test_a_path_from_a_directory_that_is_gone_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = root.parent / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InputError, match="cannot be looked up"):
        resolve_inside("silicon")


def test_staged_results_lie_where_a_flow_may_read_them(root: Path, silicon: list[Atoms]) -> None:
    staged = stage_dft_results(silicon[:2])
    assert find_files([staged]) == [staged]
    assert staged.is_relative_to(root.resolve())
