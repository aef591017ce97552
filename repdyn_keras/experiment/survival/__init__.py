"""How a run survives interrupts, kills, full disks, divergence and damaged files."""
