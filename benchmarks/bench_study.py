"""Overhead of the driver of a study: 8 tiny runs as a study, and one after the other in a process.

    python benchmarks/bench_study.py

Both do the same work: training, recording, analysis and summary of each run. The study also makes
its plan, and starts a worker process.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tomli_w

RUNS = 8
STUDY = {
    "dataset": "synthetic",
    "synthetic_train": 256,
    "synthetic_test": 64,
    "synthetic_size": 8,
    "model": "vit",
    "depth": 2,
    "width": 16,
    "heads": 2,
    "n_eval": 64,
    "cka_batch": 32,
    "planes": 2,
    "drawn_planes": 0,
    "resolution": 8,
    "epochs": 10,
    "seeds": RUNS,
}
ONE_PROCESS = """
import sys
from pathlib import Path
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.single_run import run_one
from repdyn_keras.study.study_file import load_study
from repdyn_keras.study.study_folder import StudyFolder
from repdyn_keras.study.worker import forget_network

study = load_study(sys.argv[1], out=sys.argv[2])
folder = StudyFolder(study.out)
for job in study_jobs(study, {}):
    run_one(folder.prepare(job))
    forget_network()
"""
COMMAND = "from repdyn_keras.cli import main; main()"


def seconds(*arguments: str) -> float:
    """Duration of a Python process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tiny.toml"
        file.write_text(tomli_w.dumps(STUDY))
        rows = []
        for repeat in range(2):
            alone = seconds(ONE_PROCESS, str(file), f"{folder}/alone{repeat}")
            study = seconds(COMMAND, "study", str(file), "--out", f"{folder}/study{repeat}")
            rows.append((alone, study))
    print(f"| {RUNS} runs in one process, s | as a study, s | ratio | target |")
    print("|---|---|---|---|")
    for alone, study in rows:
        print(f"| {alone:.1f} | {study:.1f} | {study / alone:.2f} | <= 1.15 |")


if __name__ == "__main__":
    main()
