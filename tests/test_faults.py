"""kill -9 at random moments of real runs: each is resumed to the same bits."""

import os
import subprocess
import sys

import pytest
from helpers import BACKEND, FAULTS

KILLS = 3 if BACKEND == "jax" else 1


@pytest.mark.long
def test_a_run_that_is_killed_at_a_random_moment_is_resumed_to_the_same_bits():
    command = [sys.executable, str(FAULTS / "kill.py"), "--backend", BACKEND]
    done = subprocess.run(
        [*command, "--kills", str(KILLS), "--jobs", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last == f"{BACKEND}: {KILLS} of {KILLS} runs bit-identical after kill -9 and --resume"
    assert "differs" not in done.stdout
