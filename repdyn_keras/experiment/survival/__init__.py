"""Recovery of a run from interrupts, kills, full disks, divergence and damaged files."""
