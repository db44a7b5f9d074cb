from __future__ import annotations

import ast
import gzip
import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from mlip_train.campaign.campaign import Campaign
from mlip_train.config.assessment import CHECKS
from mlip_train.errors import CorruptFileError, InputError
from mlip_train.records.errors import MEASURES
from mlip_train.records.evaluation import Evaluation
from mlip_train.records.verdict import Decision, Verdict
from mlip_train.report import dataset_file, write_index, write_report
from mlip_train.report.error_tables import Compared
from mlip_train.report.rendering import number
from tests.mlip_train.report.published import make_structures, publish_generation, rewrite_record
from tests.mlip_train.report.reading import Page

pytestmark = pytest.mark.xdist_group("report")  # one worker writes the pages that they share

WHY = "force_rmse is 12 % above the parent's: 112 instead of 100 meV/Å, where 5 % are allowed"
DECIDED = Decision(accepted=True, by="ann@lab", when=datetime(2026, 11, 4, 9, 5, tzinfo=UTC), why="new <surfaces>")
SCRIPT = "<script>alert(1)</script>$x_"
IMAGE = '"><img src=https://evil.example/x onerror=alert(1)>'


def make_carbide(campaign: Campaign) -> Campaign:
    """Three generations: accepted, rejected, and accepted by a person."""
    publish_generation(campaign, 1, make_structures(16, 1))
    publish_generation(campaign, 2, make_structures(12, 2), 1.3, verdict=Verdict(accepted=False, reasons=(WHY,)))
    told = Verdict(accepted=False, reasons=("energy_rmse grew",))
    publish_generation(campaign, 3, make_structures(8, 3), 0.8, verdict=told, decisions=(DECIDED,))
    return campaign


@pytest.fixture
def campaign(make_campaign: Callable[..., Campaign]) -> Campaign:
    """A campaign that a test may change; its pages are not written yet."""
    return make_carbide(make_campaign("carbide", elements=["C", "Si"]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, campaign_text: Callable[..., str]) -> Campaign:
    """The same with all pages but that of the second generation in the index, to be read only."""
    text = campaign_text(elements=["C", "Si"])
    campaign = make_carbide(Campaign.create(tmp_path_factory.mktemp("written") / "carbide", text))
    for generation in (1, 3):
        write_report(campaign, generation)
    write_index(campaign)
    write_report(campaign, 2)
    return campaign


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, campaign_text: Callable[..., str]) -> Campaign:
    """Names as somebody might choose who wants to break the page; its pages, to be read only."""
    text = campaign_text(elements=["C", "Si"])
    campaign = Campaign.create(tmp_path_factory.mktemp("hostile") / "<b>it's", text)
    kinds = [
        SCRIPT,
        "_hidden",
        "$\\frac{$",
        "\x01\u202e\n{{ 7 * 7 }}",
        "日本",
        'id="x"',
        "]]>",
        "x" * 300,
        "a&amp;b",
    ]
    publish_generation(campaign, 1, make_structures(36, 1, kinds, source=IMAGE))
    publish_generation(campaign, 2, make_structures(36, 2, kinds, source=IMAGE))
    said = {"accepted": False, "by": IMAGE, "when": "2026-11-04T09:05:00Z", "why": SCRIPT}
    rewrite_record(campaign, 2, lambda record: record.update(decisions=[said], convergence=SCRIPT, devices=IMAGE))

    def name_panels(record: dict[str, Any]) -> None:
        panel = record["checks"][0]["panels"][0]
        panel |= {"title": SCRIPT, "x_label": IMAGE, "y_label": "$\\bad{"}
        panel["curves"][0]["label"] = panel["spans"][0]["label"] = SCRIPT

    rewrite_record(campaign, 2, name_panels)
    for generation in (1, 2):
        write_report(campaign, generation)
    write_index(campaign)
    return campaign


def test_what_the_gate_noted_is_told(campaign: Campaign) -> None:
    verdict = {"accepted": True, "reasons": [], "notes": ["so few cannot tell <that> from chance"]}
    rewrite_record(campaign, 1, lambda record: record.update(verdict=verdict))
    assert "So few cannot tell &lt;that&gt; from chance." in write_report(campaign, 1).read_text()


def test_every_number_is_in_the_records(written: Campaign) -> None:
    for generation in written.published_generations():
        page = Page(written.generation(generation).report)
        sources = [
            json.loads(path.read_text())
            for path in (
                *(written.bundle_record(other) for other in range(1, generation + 1)),
                written.generation(generation).selection,
                written.store.directory / written.store.MANIFEST,
            )
        ]
        changes = changes_in(sources[generation - 1]["errors"])
        text, known = without_strings(page.text, sources), list(numbers_in(sources))
        shown = re.findall(r"[+−-]?\d+(?:\.\d+)?(?:e[+−-]?\d+)?(?: %)?", text)
        assert len(shown) > 80
        for told in shown:
            if told.endswith(" %"):
                assert any(is_rounded(told[:-2], change) for change in changes), told
            else:
                assert any(is_rounded(told, value) for value in known), told
        dumped = json.dumps(sources)
        assert all(code in dumped for code in page.codes if re.fullmatch("[0-9a-f]{12}", code))


def numbers_in(content: Any) -> Iterator[float]:
    """All numbers but those that are drawn."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key not in ("history", "panels"):
                yield from numbers_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from numbers_in(value)
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield content


def strings_in(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        yield from content
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from strings_in(value)
    elif isinstance(content, str):
        yield content


def without_strings(text: str, sources: Any) -> str:
    """A text without what stands in the sources word for word, and without their dates."""
    for told in sorted(set(strings_in(sources)), key=len, reverse=True):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\S+", told):
            when = datetime.fromisoformat(told)
            text = text.replace(f"{when:%Y-%m-%d %H:%M}", "").replace(f"{when:%Y-%m-%d}", "")
        elif re.search(r"\d", told):
            text = text.replace(told.rstrip("."), "")
    return text


def changes_in(errors: dict[str, Any]) -> list[float]:
    """In percent, of everything that is in both."""

    def pairs(now: Any, before: Any) -> Iterator[float]:
        if isinstance(now, dict) and isinstance(before, dict):
            for key in now.keys() & before.keys():
                yield from pairs(now[key], before[key])
        elif isinstance(now, float) and before:
            yield 100 * (now / before - 1)

    return list(pairs(errors["test"], errors["before"]))


def is_rounded(told: str, value: float) -> bool:
    """Whether a number is what is told; whole numbers of less than three digits are told exactly."""
    plain = told.replace("−", "-")
    mantissa, _, exponent = plain.partition("e")
    decimals = len(mantissa.partition(".")[2])
    if not decimals and not exponent and abs(float(plain)) < 100 and isinstance(value, int):
        return float(plain) == value
    unit = 10.0 ** (int(exponent or 0) - decimals)
    return abs(float(plain) - value) <= 0.5 * unit * (1 + 1e-9) and (unit < 1 or abs(value) >= 9.9)


def test_a_report_says_who_accepted_or_rejected_and_why(written: Campaign) -> None:
    first, second, third = (Page(written.generation(generation).report) for generation in (1, 2, 3))
    assert "Accepted by the gate" in first.text
    assert f"Rejected by the gate: {WHY}." in second.text
    assert f"mlip-train accept {written.root} 2" in second.codes
    assert "should not be used" in second.text
    assert "should not be used" not in first.text + third.text
    said = "Accepted by ann@lab on 2026-11-04, though the gate had rejected it (energy_rmse grew)."
    assert f"{said} The reason given: new <surfaces>." in third.text


def test_earlier_decisions_stay_on_record(campaign: Campaign) -> None:
    later = DECIDED.model_copy(update={"accepted": False, "by": "bob@lab", "why": "melts"})
    decisions = [json.loads(decision.model_dump_json()) for decision in (DECIDED, later)]
    rewrite_record(campaign, 3, lambda record: record.update(decisions=decisions))
    text = Page(write_report(campaign, 3)).text
    assert "Rejected by bob@lab on 2026-11-04, as the gate had rejected it (energy_rmse grew). The reason" in text
    assert "2026-11-04 09:05 UTC, ann@lab: accepted – new <surfaces>" in text


def test_checks_are_told_with_their_pictures(written: Campaign) -> None:
    page = Page(written.generation(1).report)
    assert f"dimer: passed {CHECKS['dimer']} It holds 2 atoms apart. Below 1.9 Å." in page.text
    assert f"nve: failed {CHECKS['nve']} It drifts by 3.21 meV/atom/ps; add data from MD." in page.text
    assert f"symmetry: not checked {CHECKS['symmetry']} There was nothing to rotate." in page.text
    assert "end of the data" in page.source
    assert page.source.count("<figure>") == 1 + 2 + 5  # dimer; loss; parity, distributions, grades


def test_a_check_without_a_curve_has_an_empty_picture(campaign: Campaign) -> None:
    def empty(record: dict[str, Any]) -> None:
        record["checks"][0]["panels"][0].update(curves=[], spans=[])

    rewrite_record(campaign, 1, empty)
    assert "distance (Å)" in write_report(campaign, 1).read_text()


def test_the_parents_errors_and_the_change_stand_beside(campaign: Campaign) -> None:
    record = json.loads(campaign.bundle_record(3).read_text())
    now, before = (record["errors"][key]["overall"]["force_rmse"] for key in ("test", "before"))
    told = f"{number(now)} {number(before)} −{100 * (1 - now / before):.0f} %"
    assert f"Force component, RMSE meV/Å {told}" in re.sub(r"\s+", " ", Page(write_report(campaign, 3)).text)


def test_what_the_parent_does_not_know_is_not_compared(campaign: Campaign) -> None:
    """As if surfaces held an element that is new."""

    def leave_out(record: dict[str, Any]) -> None:
        errors = record["errors"]
        del errors["before"]["by_config_type"]["surface"]
        known = errors["test"]["by_config_type"]["bulk"]
        errors["compared"] = {"overall": known, "by_config_type": {"bulk": known}}
        errors["before"]["overall"] = errors["before"]["by_config_type"]["bulk"]

    rewrite_record(campaign, 3, leave_out)
    errors = json.loads(campaign.bundle_record(3).read_text())["errors"]
    text = re.sub(r"\s+", " ", Page(write_report(campaign, 3)).text)
    assert "It does not know the elements of all of them" in text
    now, before = (errors[key]["overall"]["force_mae"] for key in ("compared", "before"))
    told = [errors[key]["overall"]["force_mae"] for key in ("test", "train")]
    change = f"−{100 * (1 - now / before):.0f} %"
    assert (
        f"Force component, MAE meV/Å {number(now)} {number(before)} {change} {' '.join(map(number, told))}" in text
    )
    surface = errors["test"]["by_config_type"]["surface"]
    assert f"surface {surface['n_structures']} {number(surface['energy_rmse'])} – –" in text


def test_nothing_is_loaded_and_nothing_runs(hostile: Campaign) -> None:
    for path in (hostile.generation(1).report, hostile.generation(2).report, hostile.report):
        page = Page(path)
        assert not {"script", "img", "link", "iframe", "object", "b"} & page.tags
        assert not [name for _, name, _ in page.attributes if name.startswith("on")]
        assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.loaded)
        assert len(set(page.ids)) == len(page.ids)
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page.source)


def test_hostile_names_are_shown_as_they_are(hostile: Campaign) -> None:
    text = Page(hostile.generation(2).report).text
    for told in ("<b>it's, generation 2", SCRIPT, IMAGE, "$\\frac{$", "{{ 7 * 7 }}", "日本", "a&amp;b"):
        assert told in text
    assert f"Rejected by {IMAGE}" in text


def test_a_bundle_of_an_earlier_version_has_a_page(campaign: Campaign) -> None:
    def age(record: dict[str, Any]) -> None:
        for key in ("checks", "verdict", "decisions", "devices", "convergence"):
            del record[key]
        del record["history"]["seconds"]
        for key in ("new", "grades", "worst"):
            del record["errors"][key]
        for split in ("train", "test", "before"):
            errors = record["errors"][split]
            del errors["by_element"]
            for part in (errors["overall"], *errors["by_config_type"].values()):
                for key in [key for key in part if "max" in key or "vector" in key or "stress" in key]:
                    del part[key]
        for suffix in (".asi", ".lmp"):
            del record["files"][f"potential_gen_02{suffix}"]

    rewrite_record(campaign, 2, age)
    run = campaign.generation(2)
    for path in (run.selection, run.residuals_on_test, run.residuals_on_train):
        path.unlink()
    page = Page(write_report(campaign, 2))
    assert "Accepted: published before potentials were judged by a gate." in page.text
    assert page.text.lower().count("not recorded") >= 8
    assert "Checks Not recorded." in page.text
    assert "PyACECalculator" in page.snippets[0]
    assert "pair_style  pace" in page.snippets[1]
    assert page.source.count("<figure>") == 1 + 2  # loss over the iterations; learning curve


def test_a_generation_without_a_test_set_is_judged_on_what_it_learned(campaign: Campaign) -> None:
    rewrite_record(campaign, 2, lambda record: record["errors"].update(test=None, before=None, grades=None))
    text = Page(write_report(campaign, 2)).text
    assert "on the training set" in text
    assert "There is no test set." in text
    assert "Extrapolation grades: not recorded." in text


def test_there_is_no_page_of_what_is_not_published_or_damaged(campaign: Campaign) -> None:
    with pytest.raises(InputError, match=r"potential_gen_04\.json does not exist"):
        write_report(campaign, 4)
    campaign.bundle_record(1).with_suffix(".yace").write_text("other")
    with pytest.raises(CorruptFileError, match=r"potential_gen_01\.yace"):
        write_report(campaign, 1)
    assert write_report(campaign, 3).is_file()  # what was lost of an old one is no matter of a newer one
    assert write_index(campaign).is_file()


def test_the_snippets_name_the_files_where_they_lie(hostile: Campaign) -> None:
    python, lammps = Page(hostile.generation(1).report).snippets
    ast.parse(python)
    path = str(hostile.bundle_record(1))
    assert path in [node.value for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Constant)]
    assert f'include     "{path.removesuffix("json")}lmp"' in lammps


def test_a_page_is_the_same_whenever_it_is_written(campaign: Campaign) -> None:
    first = write_report(campaign, 2).read_bytes()
    publish_generation(campaign, 4, make_structures(8, 4))
    assert write_report(campaign, 2).read_bytes() == first


def test_many_force_components_are_drawn_as_a_sample(make_campaign: Callable[..., Campaign]) -> None:
    campaign = make_campaign("large", elements=["C", "Si"])
    publish_generation(campaign, 1, make_structures(600, 1, n_atoms=200))
    page = Page(write_report(campaign, 1))
    assert "A fixed random sample, and the worst structures in full." in page.text
    assert len(page.source) < 1.5e6


def test_the_index_lists_every_generation_and_the_current_one(written: Campaign) -> None:
    page = Page(written.report)
    assert "The current potential is that of generation 3" in page.text
    assert str(written.bundle_record(3)) in page.codes
    assert f"Rejected by the gate: {WHY}." in page.text
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert links[:2] == ["generations/gen_03/report.html", "generations/gen_01/report.html"]  # the newest first
    assert "generation 2" in page.text
    assert page.text.count("rejected") >= 2


def test_an_index_before_the_first_potential(make_campaign: Callable[..., Campaign]) -> None:
    text = Page(write_index(make_campaign())).text
    assert "No potential has been accepted yet." in text
    assert "None has been published yet." in text


def test_the_dataset_file_holds_what_chemiscope_shows(written: Campaign) -> None:
    content = json.loads(gzip.decompress(written.dataset_map.read_bytes()))
    assert len(content["structures"]) == 36
    assert {len(value["values"]) for value in content["properties"].values()} == {36}
    assert content["structures"][2]["size"] == len(content["structures"][2]["x"]) == 6
    assert "cell" not in content["structures"][2]  # a cluster
    volumes = content["properties"]["volume per atom"]["values"]
    assert volumes[0] == pytest.approx(math.prod(content["structures"][0]["cell"][::4]) / 6)
    assert math.isnan(volumes[2])
    assert not any(map(math.isnan, content["properties"]["energy error"]["values"]))


def test_a_name_with_nan_in_it_does_not_spoil_the_dataset_file(make_campaign: Callable[..., Campaign]) -> None:
    campaign = make_campaign("sodium", elements=["C", "Si"])
    publish_generation(campaign, 1, make_structures(5, 1, ["NaN"], source='"NaN/OUTCAR'))
    write_index(campaign)
    text = gzip.decompress(campaign.dataset_map.read_bytes()).decode()
    read = json.loads(re.sub(r"\bNaN\b", '"missing"', text))  # as chemiscope does
    assert read["properties"]["config type"]["values"][0] == "NaN"
    assert read["properties"]["volume per atom"]["values"][2] == "missing"


def test_a_large_dataset_has_no_interactive_map(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    write_index(campaign)
    monkeypatch.setattr(dataset_file, "_MOST", 35)
    assert campaign.dataset_map.name not in Page(write_index(campaign)).source
    assert not campaign.dataset_map.exists()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "–"),
        (0.0, "0"),
        (12, "12"),
        (0.0123456, "0.0123"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1234.5, "1234"),
        (-2.5, "−2.50"),
        (3.217e-13, "3.22e-13"),
    ],
)
def test_numbers_have_three_digits(value: float | None, told: str) -> None:
    assert number(value) == told


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        (90.0, 100.0, "−10 %"),
        (105.04, 100.0, "+5.0 %"),
        (100.01, 100.0, "0.0 %"),
        (1.0, 0.0, None),
        (1.0, None, None),
    ],
)
def test_changes_are_told_in_percent_of_the_parent(now: float, before: float | None, told: str | None) -> None:
    assert Compared(MEASURES["energy_rmse"], now, before).change == told


def test_the_fixture_is_what_evaluations_are(campaign: Campaign) -> None:
    errors = json.loads(campaign.bundle_record(3).read_text())["errors"]
    assert Evaluation.model_validate(errors).before is not None
