"""Signals: the epoch is completed if there is time, and the run can be resumed."""

import re
import signal
import threading
from types import SimpleNamespace

import keras
import pytest
import tomli_w
from helpers import MODEL, SHORT, differences, repdyn, resumed

from repdyn_keras.errors import Interrupted
from repdyn_keras.experiment.survival.stopping import Stopping
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")

INT, TERM = signal.SIGINT, signal.SIGTERM


# Signal, number of signals, grace time, epoch of the last checkpoint, and message.
FINISHED = (3, "interrupted after epoch 3, which is saved")
SIGNALS = {
    "sigterm": (TERM, 1, 600.0, *FINISHED),
    "ctrl-c": (INT, 1, 600.0, *FINISHED),
    "ctrl-c twice": (INT, 2, 600.0, 2, "interrupted at once"),
    "without grace": (TERM, 1, 0.0, 2, "interrupted"),
}


@pytest.mark.parametrize(
    "case",
    [
        "sigterm",
        *(
            pytest.param(case, marks=[pytest.mark.long, pytest.mark.one_backend])
            for case in list(SIGNALS)[1:]
        ),
    ],
)
def test_a_signal_in_the_third_epoch_saves_it_if_there_is_time(whole, tmp_path, monkeypatch, case):
    number, times, grace, epoch, words = SIGNALS[case]
    begins, begun = Stopping.epoch_begins, []

    def epoch_begins(self):
        begins(self)
        begun.append(1)
        for _ in range(times if len(begun) == 3 else 0):
            signal.raise_signal(number)

    config = tmp_path / "run.toml"
    config.write_text(tomli_w.dumps({**SHORT, "grace_seconds": grace}), encoding="utf-8")
    keras.utils.clear_session()
    with monkeypatch.context() as patch:
        patch.setattr(Stopping, "epoch_begins", epoch_begins)
        done = repdyn("run", config, "--model", MODEL, "--out", tmp_path / "run")
    assert done.exit_code == 128 + number, done.stderr
    folder = RunFolder(tmp_path / "run")
    output = f"repdyn: {words}; the checkpoint of epoch {epoch} is saved. To continue: "
    assert done.stderr == f"{output}repdyn run {folder.path} --resume --model {MODEL}\n"
    pattern = r"stopping after this epoch, in about \d+ s; signal again to stop"
    waits = re.search(pattern, done.stdout)
    assert bool(waits) == (grace > 0)
    assert folder.checkpoint().attrs["epoch"] == epoch
    assert folder.epochs() == [0, 0.25, 0.75, 1]
    assert all(folder.record(each).identical(whole.record(each)) for each in folder.epochs())
    resumed(folder.path)
    assert differences(whole, folder) == []


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    made = SimpleNamespace(now=100.0)
    fake = SimpleNamespace(monotonic=lambda: made.now)
    monkeypatch.setattr("repdyn_keras.experiment.survival.stopping.time", fake)
    return made


def trained(clock, *seconds: float) -> tuple[Stopping, list[str]]:
    """A handler with 20 s of grace time after epochs of these durations, and its messages."""
    output = []
    stopping = Stopping(20.0, output.append)
    for each in seconds:
        stopping.epoch_begins()
        clock.now += each
        with stopping.pausing():
            clock.now += 3.0  # an early record
        assert stopping.epoch_ends() == pytest.approx(each)
        clock.now += 7.0  # time for recording, which is not included
    return stopping, output


def test_an_epoch_is_expected_to_take_the_median_of_previous_epochs(clock):
    """Minus the elapsed time, and without the first epoch, which includes compilation."""
    stopping, _ = trained(clock)
    stopping.epoch_begins()
    assert stopping.seconds_left() is None, "no epoch has ended yet"
    stopping, _ = trained(clock, 50.0)
    assert stopping.seconds_left() is None, "no epoch is running"
    stopping.epoch_begins()
    assert stopping.seconds_left() == 50.0
    stopping, _ = trained(clock, 50.0, 10.0, 12.0, 90.0, 11.0)
    stopping.epoch_begins()
    for seconds, expected in ((4.0, 7.5), (30.0, 0.0)):
        clock.now += seconds
        assert stopping.seconds_left() == pytest.approx(expected)


def test_the_first_signal_waits_for_an_epoch_that_ends_in_the_grace_time(clock):
    stopping, output = trained(clock, 50.0, 30.0, 30.0)
    stopping.epoch_begins()
    clock.now += 10.0
    stopping.stop_if_signalled(2)
    stopping.handle(TERM, None)
    assert output == ["stopping after this epoch, in about 20 s; signal again to stop at once."]
    with pytest.raises(Interrupted, match="after epoch 3, which is saved") as caught:
        stopping.stop_if_signalled(3)
    assert caught.value.signal == TERM
    with pytest.raises(Interrupted, match="at once") as caught:
        stopping.handle(INT, None)
    assert caught.value.signal == INT, "the second signal does not wait"

    for seconds, begun in (((50.0, 30.0, 30.0), 9.9), ((), 0.0), ((1.0, 1.0), None)):
        stopping, output = trained(clock, *seconds)
        if begun is not None:
            stopping.epoch_begins()
            clock.now += begun
        with pytest.raises(Interrupted, match="^interrupted$") as caught:
            stopping.handle(INT, None)
        assert caught.value.signal == INT
        assert output == [], (seconds, begun)
    # Code that catches `Exception`, such as a user's callback, does not catch it.
    assert isinstance(caught.value, KeyboardInterrupt)
    assert not isinstance(caught.value, Exception)


def test_handlers_are_restored_and_only_the_main_thread_sets_them():
    def handlers():
        return [signal.getsignal(number) for number in (INT, TERM)]

    def enter():
        with Stopping(20.0, print):
            seen.append(handlers())

    before, stopping, seen = handlers(), Stopping(20.0, print), []
    with pytest.raises(RuntimeError), stopping:
        assert handlers() == [stopping.handle] * 2
        raise RuntimeError
    assert handlers() == before
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
