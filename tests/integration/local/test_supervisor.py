"""The supervisor over small programs: what it shows, restarts and stops, and what is left when it is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("supervised.py")
SLEEP = "print('up'); import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
WITH_CHILD = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); time.sleep(600)"
POLITE = """
import signal, sys, time
def leave(*_):
    time.sleep({seconds})
    print('bye')
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('up')
time.sleep(600)
"""


@contextmanager
def supervised(traces, *parts: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(SCRIPT), json.dumps(parts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=traces.environment) as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if wanted in line)


def stop(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    return rest


def test_shows_each_line_under_its_part_and_of_a_progress_bar_the_last_state(traces) -> None:
    code = "import sys, time; print('one'); print('1%\\r2%\\r3%'); print('err', file=sys.stderr); time.sleep(600)"
    with supervised(traces, {"name": "a", "code": code}) as process:
        assert line_with(process, "one") == "a        | one\n"
        assert line_with(process, "%") == "a        | 3%\n"
        assert line_with(process, "err") == "a        | err\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_wished_stop_is_no_error_and_leaves_nothing(traces, number: signal.Signals) -> None:
    with supervised(traces, {"name": "a", "code": SLEEP}) as process:
        line_with(process, "| up")
        stop(process, number)
        assert process.returncode == 0
    assert not traces.living()


def test_restarts_what_crashed_and_says_why(traces, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = (
        f"import pathlib, sys\nif not (f := pathlib.Path({str(flag)!r})).exists():\n f.touch(); sys.exit('no disk')\n"
    )
    with supervised(traces, {"name": "a", "code": code + SLEEP}) as process:
        assert "a ended (exit code 1: no disk); it starts again in 0.05 s" in line_with(process, "ended")
        line_with(process, "| up")


def test_names_the_signal_that_ended_a_part(traces) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    with supervised(traces, {"name": "a", "code": code}) as process:
        assert "a ended (killed by SIGKILL)" in line_with(process, "ended")


def test_a_part_that_ends_by_itself_has_crashed_too(traces) -> None:
    with supervised(traces, {"name": "a", "code": "print('done')"}) as process:
        assert "a ended (exit code 0: done)" in line_with(process, "ended")


def test_pauses_longer_before_each_restart_and_gives_up_at_the_fifth_crash(traces) -> None:
    parts = [{"name": "bad", "code": "print('no disk'); exit(3)"}, {"name": "good", "code": POLITE.format(seconds=0)}]
    with supervised(traces, *parts) as process:
        written, _ = process.communicate(timeout=20)
    assert [line.rsplit(" in ", 1)[1] for line in written.splitlines() if "starts again" in line] == [
        "0.05 s",
        "0.1 s",
        "0.2 s",
        "0.2 s",
    ]
    assert written.splitlines()[-1] == "bad crashed 5 times within a minute (exit code 3: no disk)"
    assert process.returncode == 1
    assert not traces.living()


def test_one_broken_device_does_not_end_the_others_but_the_last_one_does(traces, tmp_path: Path) -> None:
    flag = tmp_path / "break"
    healthy = f"import pathlib, time\nwhile not pathlib.Path({str(flag)!r}).exists(): time.sleep(0.02)\nexit(4)"
    broken = {"name": "broken", "code": "exit(3)", "vital": False}
    with supervised(traces, broken, {"name": "healthy", "code": healthy, "vital": False}) as process:
        assert (
            line_with(process, "starts again in 60 s")
            == "fluxfarm | broken ended (exit code 3); it starts again in 60 s\n"
        )
        flag.touch()
        assert "healthy crashed 5 times within a minute" in line_with(process, "within a minute")
        assert process.wait(10) == 1


def test_stops_in_waves_and_lets_each_finish_before_the_next(traces) -> None:
    slow, quick = POLITE.format(seconds=0.5), POLITE.format(seconds=0)
    parts = [{"name": "server", "code": quick, "wave": 2}, {"name": "door", "code": quick, "wave": 1}]
    with supervised(traces, *parts, {"name": "worker", "code": slow}) as process:
        for _ in range(3):
            line_with(process, "| up")
        rest = stop(process)
    assert [line.split()[0] for line in rest.splitlines() if line.endswith("bye")] == ["worker", "door", "server"]


def test_kills_a_part_that_does_not_hear_with_all_its_children(traces, eventually: Callable[..., None]) -> None:
    parts = [{"name": "deaf", "code": DEAF, "grace": 0.3}, {"name": "parent", "code": WITH_CHILD, "grace": 0.3}]
    with supervised(traces, *parts) as process:
        for _ in range(2):
            line_with(process, "| up")
        begun = time.monotonic()
        stop(process)
        assert time.monotonic() - begun < 3
    eventually(lambda: not traces.living(), 1)


def test_clears_away_what_a_crashed_part_left_before_it_starts_again(traces, tmp_path: Path, eventually) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); sys.stdin.read(); sys.exit(1)"
    with supervised(traces, {"name": "a", "code": code}) as process:
        process.communicate(timeout=20)
    eventually(lambda: not traces.living(), 1)


def test_nothing_outlives_a_killed_supervisor_by_ten_seconds(traces, eventually: Callable[..., None]) -> None:
    parts = [{"name": "deaf", "code": DEAF}, {"name": "parent", "code": WITH_CHILD}, {"name": "a", "code": SLEEP}]
    with supervised(traces, *parts) as process:
        for _ in parts:
            line_with(process, "| up")
        process.kill()
    eventually(lambda: not traces.living(), 10)


def test_a_guardian_that_is_killed_is_replaced(traces, eventually: Callable[..., None]) -> None:
    def guardians() -> list[int]:
        return [int(words.split(":")[0]) for words in traces.living() if "guardian.py" in words]

    with supervised(traces, {"name": "a", "code": SLEEP}) as process:
        line_with(process, "| up")
        (first,) = guardians()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: guardians() not in ([], [first]))
        process.kill()
    eventually(lambda: not traces.living(), 10)


def test_goes_on_when_nobody_reads_what_it_prints(traces, tmp_path: Path, eventually: Callable[..., None]) -> None:
    flag = tmp_path / "flag"
    code = f"import pathlib\nfor n in range(20000): print('x' * 50)\npathlib.Path({str(flag)!r}).touch()\n"
    with supervised(traces, {"name": "loud", "code": code + SLEEP}) as process:
        eventually(flag.exists, 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
