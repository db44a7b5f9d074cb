"""The guide's flow of one's own, run as it stands there, with the stand-in engine."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from mlip_train import Campaign, Potential
from tests.conftest import REPOSITORY, SILICON


def snippet() -> str:
    """The code of the section."""
    section = (REPOSITORY / "docs" / "guide.md").read_text().split("### From a flow of your own\n")[1]
    code = re.search(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    assert code is not None
    return code.group(1)


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_that_has_dft_results(
    make_campaign: Callable[..., Campaign],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    campaign = make_campaign("silicon", fit={"max_epochs": 1})
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "silicon").symlink_to(SILICON)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "snippet.py"  # Prefect wants to see the file of a flow
    script.write_text(snippet())

    runpy.run_path(str(script))

    potential = Potential.current(campaign)
    assert potential is not None
    assert potential.generation == 1
    sources = {Path(row.structure.source) for row in campaign.store.iterate()}
    assert {source.suffix for source in sources} == {".extxyz", ".traj"}  # the file, and what was staged
    assert "nothing new" not in capsys.readouterr().out
    runpy.run_path(str(script))
    assert "nothing new" in capsys.readouterr().out
    assert Potential.current(campaign) == potential
