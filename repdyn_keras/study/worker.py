"""A worker process of a study: receives runs on standard input, and answers on standard output.

Every line is a JSON object. Requests are {"plan": {keys of a run}} and {"run": FOLDER, "keep": ...,
"log": FILE}; the answer to each is one line. The process ends when its input does, at once: a run
that is under way continues from its last checkpoint the next time.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from repdyn_keras.errors import InputError, Interrupted, StorageError
from repdyn_keras.records.atomic import NO_SPACE, storage_error, storage_errors
from repdyn_keras.study.outcomes import Outcome

# Exit code of a worker whose driver is gone.
ORPHANED = 3


def main() -> None:
    """Handles requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Libraries and the run itself must not write between the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    requests: queue.Queue[str] = queue.Queue()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    while True:
        request = json.loads(requests.get())
        handle: Callable[[dict[str, Any]], dict[str, Any]] = plan if "plan" in request else run
        answers.write(json.dumps(handle(request)) + "\n")
        answers.flush()


def read_requests(requests: "queue.Queue[str]") -> None:
    """Puts the lines of the input into a queue; ends the process when the input ends."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(ORPHANED)


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """What a run will take on this machine, or why it cannot be run."""
    from repdyn_keras.study.study_plan import timed_costs

    try:
        return timed_costs(request["plan"])
    except (InputError, StorageError) as error:
        return {"error": str(error)}


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Brings a run to its end; what it prints goes to its log."""
    return vars(logged_run(request["run"], request["keep"], request["log"]))


def logged_run(path: str, keep: str, log: str) -> Outcome:
    """Brings a run to its end; what it prints goes to its log.

    Args:
        path: the folder of the run.
        keep: what of the finished run stays.
        log: the file of its log.

    Returns:
        How it ended. Errors are answers as well: the worker goes on with the next run.
    """
    try:
        with storage_errors(Path(log)):
            Path(log).parent.mkdir(parents=True, exist_ok=True)
            opened = open(log, "a", encoding="utf-8", buffering=1)
    except StorageError as error:
        return Outcome(path, "storage", str(error))
    with opened as file:
        outputs = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            return outcome_of(path, keep)
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            for number, output in enumerate(outputs, start=1):
                os.dup2(output, number)
                os.close(output)


def outcome_of(path: str, keep: str) -> Outcome:
    """Brings a run to its end; errors are printed, and returned as the outcome."""
    from repdyn_keras.experiment import Watcher
    from repdyn_keras.study.single_run import run_one

    class Log(Watcher):
        """Prints the messages of a run."""

        def message(self, text: str) -> None:
            say(text)

        def analysis_step(self, step: str) -> None:
            say(f"analyzing: {step}")

    try:
        run_one(path, keep, Log())
        return Outcome(path)
    except Interrupted as stop:
        say(stop)
        return Outcome(path, "interrupted", str(stop))
    except StorageError as error:
        say(error)
        return Outcome(path, "storage", str(error))
    except InputError as error:
        say(error)
        return Outcome(path, "failed", str(error))
    except Exception as error:
        say(traceback.format_exc())
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            # Not from a file of the run, but from what a library prints or stores.
            return Outcome(path, "storage", str(storage_error(Path(path), error.errno)))
        reason = traceback.format_exception_only(error)[-1].strip()
        return Outcome(path, "failed", reason)
    finally:
        forget_network()


def say(text: object) -> None:
    """Prints to the log; a log that cannot be written stops no run."""
    with suppress(OSError):
        print(text, flush=True)


def forget_network() -> None:
    """Frees the network of the last run, and restarts Keras's count of the names of layers."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.clear_session()


if __name__ == "__main__":
    main()
