// Waits until the run has records.

followVersion();
