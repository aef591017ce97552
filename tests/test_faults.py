"""Runs that are killed at random moments are resumed with bit-identical results."""

import os
import subprocess
import sys

import pytest
from helpers import BACKEND, FAULTS

KILLS = 2 if BACKEND == "jax" else 1


@pytest.mark.long
def test_runs_killed_at_random_moments_resume_bit_identically():
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
