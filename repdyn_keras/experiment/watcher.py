"""Notifications about the progress of a run."""


class Watcher:
    """Receives the notifications of a run. Its methods do nothing; subclasses override them."""

    def started(self, folder, config, plan) -> None:
        """The run begins.

        Args:
            folder: the run folder.
            config: the resolved configuration.
            plan: the plan.
        """

    def resumed(self, epoch: int) -> None:
        """The run resumes from the checkpoint of this epoch."""

    def working(self, what: str) -> None:
        """Something begins that reports nothing until it ends, such as importing the backend."""

    def step_ended(self, step: int) -> None:
        """So many steps of the current epoch have ended."""

    def epoch_ended(self, epoch: int, logs: dict[str, float]) -> None:
        """The training of an epoch ended; `logs` holds its loss and accuracy."""

    def early_record_begins(self, epoch: float) -> None:
        """An early record is about to be measured; `recorded` is called when it is written."""

    def recorded(self, epoch: float, accuracies: dict[str, float]) -> None:
        """An epoch was measured and is about to be written, with the network's accuracies.

        An epoch that is not whole is that of an early record, which is written by now.
        """

    def replayed(self, epoch: float, path) -> None:
        """The saved weights of an epoch were recorded from a file, by its path in the folder."""

    def message(self, text: str) -> None:
        """A message to the user."""

    def analysis_step(self, step: str) -> None:
        """A step of the analysis begins."""
