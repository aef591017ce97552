"""Signals: the epoch is finished where there is time, nothing recorded is lost, and all goes on."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w
from helpers import BACKEND, MODEL, SHORT, differences, resumed

from repdyn_keras.errors import Interrupted
from repdyn_keras.experiment.stopping import Stopping
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")

TESTS = Path(__file__).parent
# `repdyn` whose process receives signals as an epoch begins, the second once the first was handled.
VICTIM = """
import os, signal, sys, time
from repdyn_keras.experiment.stopping import Stopping

number, times, when = map(int, sys.argv.pop(1).split(","))
begins, begun = Stopping.epoch_begins, []

def epoch_begins(self):
    begins(self)
    begun.append(1)
    for count in range(times if len(begun) == when else 0):
        os.kill(os.getpid(), number)
        end = time.monotonic() + 60
        while self.asked is None and time.monotonic() < end:
            time.sleep(0.01)

Stopping.epoch_begins = epoch_begins
from repdyn_keras.cli import main
main()
"""
INT, TERM = signal.SIGINT, signal.SIGTERM


def command(base: Path, *program: str, **changed) -> dict:
    """The arguments of a process that runs the short run in `base / "run"`."""
    (base / "run.toml").write_text(tomli_w.dumps({**SHORT, **changed}), encoding="utf-8")
    words = [*program, "run", str(base / "run.toml"), "--model", MODEL, "--out", str(base / "run")]
    return {
        "args": [sys.executable, *words],
        "cwd": TESTS,  # where the network is
        "env": {**os.environ, "KERAS_BACKEND": BACKEND, "COLUMNS": "200"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }


# The epoch whose checkpoint stands afterwards, its recorded epochs and what is said of it.
FINISHED = (
    3,
    [0, 1],
    "interrupted after epoch 3, which is saved; the checkpoint of epoch 3 stands",
)
AT_ONCE = (2, [0, 1], "interrupted at once; the checkpoint of epoch 2 stands")
NO_TIME = (2, [0, 1], "interrupted; the checkpoint of epoch 2 stands")


@pytest.mark.parametrize(
    ("number", "times", "grace", "code", "left"),
    [
        (INT, 1, 600.0, 130, FINISHED),
        (TERM, 1, 600.0, 143, FINISHED),
        (INT, 2, 600.0, 130, AT_ONCE),
        (TERM, 1, 0.0, 143, NO_TIME),
    ],
    ids=["ctrl-c", "sigterm", "ctrl-c twice", "without grace"],
)
def test_a_signal_in_the_third_epoch(whole, tmp_path, number, times, grace, code, left):
    script = tmp_path / "victim.py"
    script.write_text(VICTIM, encoding="utf-8")
    signals = f"{number:d},{times},3"
    done = subprocess.run(**command(tmp_path, str(script), signals, grace_seconds=grace))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    folder = RunFolder(tmp_path / "run")
    epoch, recorded, words = left
    said = done.stderr.strip().splitlines()[-1]
    assert said == f"repdyn: {words}. To go on: repdyn run {folder.path} --resume --model {MODEL}"
    waits = re.search(r"stopping after this epoch, in about \d+ s; again to stop", done.stdout)
    assert bool(waits) == (grace > 0)
    assert folder.checkpoint().attrs["epoch"] == epoch
    assert folder.epochs() == recorded
    for each in recorded:
        assert folder.record(each).identical(whole.record(each))
    resumed(folder.path)
    assert differences(whole, folder) == []


def test_a_signal_from_outside_at_any_moment(tmp_path):
    """The installed command, where it is: in training, recording or writing."""
    repdyn = Path(sys.executable).with_name("repdyn")
    if not repdyn.is_file():
        pytest.skip(f"the command repdyn is not installed beside {sys.executable}")
    epochs = 2000
    with subprocess.Popen(**command(tmp_path, str(repdyn), epochs=epochs)) as process:
        for line in process.stdout:
            if line.startswith(f"epoch 3/{epochs}"):
                process.send_signal(TERM)
                break
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 143, errors
    folder = RunFolder(tmp_path / "run")
    saved = int(folder.checkpoint().attrs["epoch"])
    assert 3 <= saved < epochs
    assert f"the checkpoint of epoch {saved} stands. To go on: repdyn run {folder.path}" in errors
    assert folder.epochs()[:2] == [0, 1]
    names, _, bad = folder.checksums.read()
    assert [name for name in names if folder.checksums.problem_of(name)] + bad == []
    assert len(folder.history()) in (saved, saved + 1)


# The handler by itself.


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    made = SimpleNamespace(now=100.0)
    fake = SimpleNamespace(monotonic=lambda: made.now)
    monkeypatch.setattr("repdyn_keras.experiment.stopping.time", fake)
    return made


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stopping(said) -> Stopping:
    return Stopping(20.0, said.append)


def trained(stopping: Stopping, clock, *seconds: float) -> None:
    """Epochs that took so long."""
    for each in seconds:
        stopping.epoch_begins()
        clock.now += each
        assert stopping.epoch_ends() == pytest.approx(each)
        clock.now += 7.0  # of recording, which does not count


def test_nothing_is_expected_before_an_epoch_was_seen_and_between_two(stopping, clock):
    assert stopping.expected() is None
    stopping.epoch_begins()
    assert stopping.expected() is None
    stopping.epoch_ends()
    assert stopping.expected() is None


def test_an_epoch_is_expected_to_take_the_median_of_those_before(stopping, clock):
    """Less the time that it has taken already, and without the first, which compiles."""
    trained(stopping, clock, 50.0)
    stopping.epoch_begins()
    assert stopping.expected() == 50.0
    stopping.epoch_ends()
    trained(stopping, clock, 10.0, 12.0, 90.0)
    stopping.epoch_begins()
    clock.now += 4.0
    assert stopping.expected() == pytest.approx(11.0 - 4.0)
    clock.now += 30.0
    assert stopping.expected() == 0.0


def test_the_first_signal_waits_where_the_epoch_ends_within_the_grace_time(stopping, clock, said):
    trained(stopping, clock, 50.0, 30.0, 30.0)
    stopping.epoch_begins()
    clock.now += 10.0
    stopping.stop_if_asked(2)
    stopping.handle(TERM, None)
    assert said == ["stopping after this epoch, in about 20 s; again to stop at once."]
    assert stopping.asked == TERM
    with pytest.raises(Interrupted, match="after epoch 3, which is saved") as caught:
        stopping.stop_if_asked(3)
    assert caught.value.signal == TERM


def test_the_first_signal_does_not_wait_longer(stopping, clock, said):
    trained(stopping, clock, 50.0, 30.0, 30.0)
    stopping.epoch_begins()
    clock.now += 9.9
    with pytest.raises(Interrupted, match="^interrupted$"):
        stopping.handle(INT, None)
    assert said == []


@pytest.mark.parametrize("begun", [False, True])
def test_the_first_signal_does_not_wait_where_nothing_is_known(stopping, clock, begun):
    if begun:
        stopping.epoch_begins()
    else:
        trained(stopping, clock, 1.0, 1.0)
    with pytest.raises(Interrupted) as caught:
        stopping.handle(INT, None)
    assert caught.value.signal == INT


def test_the_second_signal_does_not_wait(stopping, clock):
    trained(stopping, clock, 1.0, 1.0)
    stopping.epoch_begins()
    stopping.handle(TERM, None)
    with pytest.raises(Interrupted, match="at once") as caught:
        stopping.handle(INT, None)
    assert caught.value.signal == INT


def test_an_interruption_is_one_of_the_keyboard():
    """What catches `Exception` along the way, such as a callback of the user's, lets it pass."""
    assert issubclass(Interrupted, KeyboardInterrupt)
    assert not issubclass(Interrupted, Exception)


def test_handlers_are_put_back(stopping):
    before = [signal.getsignal(number) for number in (INT, TERM)]
    with pytest.raises(RuntimeError), stopping:
        assert [signal.getsignal(number) for number in (INT, TERM)] == [stopping.handle] * 2
        raise RuntimeError
    assert [signal.getsignal(number) for number in (INT, TERM)] == before


def test_a_thread_besides_the_main_one_handles_no_signals(stopping):
    before = signal.getsignal(INT)
    seen = []

    def enter():
        with stopping:
            seen.append(signal.getsignal(INT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
