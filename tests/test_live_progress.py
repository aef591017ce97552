"""The progress of a run in a terminal and in lines."""

import io
import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from repdyn_keras.experiment.live_progress import LiveProgress, format_seconds
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.one_backend
CONFIG = SimpleNamespace(
    dataset="digits", model="vit", optimizer="adam", backend="jax", label_noise=0.2, epochs=400
)
PLAN = SimpleNamespace(
    images=(1437, 1024, 360),
    training_images="1437",
    parameters=177_010,
    epochs=[0, 1, 2, 4, 400],
    recorded="5 of them recorded",
    layers=["a"],
    disk_bytes=10**8,
    steps=12,
)


def lines_of(progress: LiveProgress) -> list[str]:
    """The display as it is now, in 80 columns."""
    printed = io.StringIO()
    Console(file=printed, width=80).print(progress.view())
    return [line.rstrip() for line in printed.getvalue().splitlines()]


def begun(**settings) -> LiveProgress:
    progress = LiveProgress(Console(file=io.StringIO(), width=80, **settings))
    progress.started(RunFolder("run"), CONFIG, PLAN)
    return progress


def test_numbers_of_two_epochs_never_stand_on_one_line():
    progress = begun()
    for epoch in range(5):
        if epoch:
            progress.epoch_ended(epoch, {"loss": 100 + epoch, "accuracy": epoch / 10})
        if epoch in PLAN.epochs:
            progress.recorded(epoch, {"memorized": epoch / 100, "test_accuracy": 0.5})
        shown = lines_of(progress)
        assert max(map(len, shown)) < 80
        if epoch:
            assert f"epoch {epoch}: loss {100 + epoch}.000, accuracy 0.{epoch}00" in shown
        record = max(each for each in PLAN.epochs if each <= epoch)
        assert f"record {record}: memorized 0.0{record}0, test 0.500" in shown
    printed = progress.console.file.getvalue().splitlines()[3:]
    assert [line.split("  ")[0] for line in printed] == [f"epoch {e}/400" for e in (0, 1, 2, 4)]
    assert "loss 102.000" in printed[2] and "memorized 0.020" in printed[2]
    progress.recorded(4, {"memorized": math.nan, "test_accuracy": 0.25})
    assert "memorized" not in progress.line() and "test 0.250" in progress.line()
    progress.recorded(0.03125, {"memorized": 0.5, "test_accuracy": 0.25})
    assert progress.line().startswith("epoch 0.03/400  memorized 0.500")
    assert "epoch 4/400" in " ".join(lines_of(progress)), "an early record moves no bar"


def test_early_records_are_not_part_of_the_training_time(monkeypatch):
    """Epochs of 10 s and records of 100 s, early ones among them."""
    progress, clock = begun(), [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    progress.lap()
    numbers = {"memorized": 0.0, "test_accuracy": 0.5}

    def record(epoch):
        clock[0] += 100
        progress.recorded(epoch, numbers)

    record(0)
    for epoch in (1, 2):
        for step in (2, 5):
            clock[0] += 2.5
            progress.early_record_begins(epoch - 1 + step / 12)
            record(epoch - 1 + step / 12)
        clock[0] += 5
        progress.epoch_ended(epoch, {"loss": 1.0, "accuracy": 0.5})
        record(epoch)
    assert progress.seconds_left() == 398 * 10 + 2 * 100


def test_the_display_says_what_is_done_and_moves_with_the_steps():
    progress = LiveProgress(Console(file=io.StringIO()))
    progress.working("importing keras and jax")
    assert lines_of(progress) == ["importing keras and jax (0 s)"]
    progress = begun()
    progress.working("compiling the training step")
    assert lines_of(progress)[-1] == "compiling the training step"
    progress.step_ended(7)
    shown = lines_of(progress)
    assert "epoch 0/400, step 7/12" in shown[0] and "compiling" not in "".join(shown)
    progress.epoch_ended(1, {"loss": 1.0, "accuracy": 0.5})
    assert "step" not in lines_of(progress)[0]
    progress.analysis_step("phases")
    assert lines_of(progress)[-1] == "analyzing the records: phases"


def test_a_terminal_gets_a_display_that_ends_with_the_last_state():
    with begun(force_terminal=True) as progress:
        progress.epoch_ended(1, {"loss": 1.0, "accuracy": 0.5})
        progress.recorded(1, {"memorized": 0.1, "test_accuracy": 0.5})
    shown = progress.console.file.getvalue()
    assert "record 1: memorized 0.100, test 0.500" in shown.splitlines()[-1]
    assert progress.seconds > 0


def test_short_times_keep_two_digits():
    assert [format_seconds(x) for x in (0.654, 3.21, 200)] == ["0.65 s", "3.2 s", "3 min 20 s"]
