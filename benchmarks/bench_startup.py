"""Time of the command's help, of the import, and of opening a finished run.

The run is recorded first, in a temporary folder.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import print_table

REPEATS = 7
EPOCHS = 31
OPENING = (
    "import sys; from repdyn_keras import open_run; open_run(sys.argv[1]).dynamics;"
    "assert not {'keras', 'jax', 'tensorflow', 'torch'} & set(sys.modules), 'a backend is there'"
)


def lap(command: list[str]) -> float:
    """Seconds of one command in a separate process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Times the commands alternately."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        settings = f"record_epochs={','.join(map(str, range(EPOCHS)))}"
        repdyn = str(Path(sys.executable).with_name("repdyn"))
        subprocess.run(
            [repdyn, "run", "--epochs", str(EPOCHS - 1), "--out", run, "--quiet"]
            + ["--set", settings, "--set", "n_eval=1024"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        commands = {
            "python -c pass": ([sys.executable, "-c", "pass"], "-"),
            "repdyn --help": ([repdyn, "--help"], "<= 0.6"),
            "import repdyn_keras": ([sys.executable, "-c", "import repdyn_keras"], "<= 0.25"),
            "open_run(...).dynamics": ([sys.executable, "-c", OPENING, run], "<= 1.5"),
        }
        seconds = {name: [] for name in commands}
        for command, _ in commands.values():
            lap(command)
        for _ in range(REPEATS):
            for name, (command, _) in commands.items():
                seconds[name].append(lap(command))
    rows = [
        [name, statistics.median(seconds[name]), target] for name, (_, target) in commands.items()
    ]
    print_table(["what", "seconds", "target"], rows, ["typer", "rich", "xarray"])


if __name__ == "__main__":
    main()
