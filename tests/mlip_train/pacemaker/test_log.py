from __future__ import annotations

from pathlib import Path

import pytest

from mlip_train.pacemaker import callbacks
from mlip_train.pacemaker.callbacks import USED_UP
from mlip_train.pacemaker.log import devices_in_log, log_tail, read_timings, reason_it_stopped

ATTEMPT = """\
2026-11-22 06:50:19,100 - root - INFO - Start pacemaker
2026-11-22 06:50:19,100 - root - INFO - Hostname: somewhere
2026-11-22 06:50:33,536 - pyace.preparedata - INFO - Total number of atoms: 10000
2026-11-22 06:50:33,649 - pyace.preparedata - INFO - Total number of atoms: 1286
2026-11-22 06:50:45,100 - pyace - INFO - Initial state:#0    (1 evals):   Loss: 2.4e-03 | Time/eval: 899.61 mcs/at
2026-11-22 06:50:49,366 - pyace - INFO - Initial(TEST):#0    (1 evals):   Loss: 2.9e-03 | Time/eval:   0.00 mcs/at
2026-11-22 06:50:54,499 - pyace - INFO - Iteration   #1    (3 evals):    Loss: 2.4e-03 | Time/eval: 200.00 mcs/at
2026-11-22 06:50:58,499 - pyace - INFO - Iteration   #2    (5 evals):    Loss: 2.3e-03 | Time/eval: 300.00 mcs/at
2026-11-22 06:51:02,499 - pyace - INFO - Iteration   #3    (6 evals):    Loss: 2.2e-03 | Time/eval: 200.00 mcs/at
Fitting took 17.4 seconds
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    path.write_text(ATTEMPT.replace("06:50:45", "06:59:59") + ATTEMPT)  # the log of an earlier attempt stays in it
    return path


def test_seconds_are_split_into_what_computed(log: Path) -> None:
    timings = read_timings(log, 46.0)
    assert timings is not None
    assert timings.start_up == pytest.approx(46.0 - 8.0)
    assert timings.evaluator == pytest.approx(200e-6 * 10000 * 3)
    assert timings.optimiser == pytest.approx(8.0 - 6.0)
    assert str(timings) == "start-up and end 38 s, evaluator 6 s, optimiser 2 s"


def test_parts_are_never_more_than_the_whole(log: Path) -> None:
    log.write_text(log.read_text().replace("06:51:02", "06:50:56"))
    timings = read_timings(log, 46.0)
    assert timings is not None
    assert (timings.evaluator, timings.optimiser) == pytest.approx((2.0, 0.0))
    assert timings.start_up == pytest.approx(44.0)


def test_evaluations_that_were_not_timed_do_not_count(log: Path) -> None:
    of_test = (
        "2026-11-22 06:51:09,499 - pyace - INFO - Last (TEST) (7 evals):  Loss: 2.2e-03 | Time/eval:   0.00 mcs/at"
    )
    log.write_text(ATTEMPT + of_test + "\n")
    timings = read_timings(log, 46.0)
    assert timings is not None
    assert timings.evaluator == pytest.approx(200e-6 * 10000 * 3)


@pytest.mark.parametrize("moved", ["05:00:00", "09:00:00"], ids=["back", "forward"])
def test_a_clock_that_was_set_gives_no_negative_parts(log: Path, moved: str) -> None:
    log.write_text(ATTEMPT.replace("06:51:02", moved))
    timings = read_timings(log, 46.0)
    assert timings is not None
    assert min(timings.start_up, timings.evaluator, timings.optimiser) >= 0
    assert timings.start_up + timings.evaluator + timings.optimiser == pytest.approx(46.0)


def test_a_fit_of_a_single_iteration_cannot_be_split(log: Path) -> None:
    log.write_text(ATTEMPT[: ATTEMPT.index("2026-11-22 06:50:58,499")])
    assert read_timings(log, 46.0) is None


@pytest.mark.parametrize("missing", ["Total number of atoms", "Time/eval", "Start pacemaker"])
def test_a_log_that_does_not_tell_is_no_error(log: Path, missing: str) -> None:
    log.write_text("\n".join(line for line in ATTEMPT.splitlines() if missing not in line))
    assert (read_timings(log, 46.0) is None) == (missing != "Start pacemaker")


BEGIN = "2026-11-22 01:00:00,000 L - Cycle fitting loop\n"


def result(status: int) -> str:
    return f"2026 I - Optimization result(success=False, status={status}, message=so, nfev=9, njev=9)\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (BEGIN + result(0), "flat (the optimiser's own criterion)"),
        (BEGIN + result(1), "out of epochs"),
        (BEGIN + result(2), "flat (no step lowers the loss any more)"),
        (BEGIN + result(99), "flat (early stopping)"),
        (BEGIN + result(7), "status 7"),
        (BEGIN + f"{USED_UP}\n" + result(99), "out of time (fit.max_hours)"),
        (BEGIN + f"{USED_UP}\n" + result(99) + BEGIN + result(1), "out of epochs"),
        (BEGIN + result(1) + BEGIN + result(99), "flat (early stopping)"),
        (BEGIN + "nothing more\n", "ended"),
        ("", "ended"),
    ],
)
def test_the_log_tells_why_the_last_fit_ended(tmp_path: Path, log: str, reason: str) -> None:
    (tmp_path / "log.txt").write_text(log)
    assert reason_it_stopped(tmp_path / "log.txt") == reason


def test_without_a_log_a_fit_just_ended(tmp_path: Path) -> None:
    assert reason_it_stopped(tmp_path / "log.txt") == "ended"


def test_the_end_of_a_log_is_shown_without_empty_and_endless_lines(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert log_tail(log) == "  (the engine printed nothing)"
    log.write_text("\n \n")
    assert log_tail(log) == "  (the engine printed nothing)"
    log.write_bytes(b"\n".join([b"first", *[b"line"] * 13, b"", b"x" * 999, b"\xff last"]))
    lines = log_tail(log).splitlines()
    assert len(lines) == 15
    assert lines[0] == "  line"
    assert lines[-2] == "  " + "x" * 300
    assert lines[-1] == "  \ufffd last"


def test_what_an_earlier_attempt_computed_on_says_nothing_of_this_one(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(f"Start pacemaker\n{callbacks.COMPUTES_ON}/device:CPU:0\nStart pacemaker\nloading\n")
    assert devices_in_log(log) is None
