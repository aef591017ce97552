"""What a run tells whoever watches it."""


class Watcher:
    """Receives a run's news; every method does nothing by itself."""

    def started(self, folder, config, plan) -> None:
        """The run begins: its folder, its resolved configuration and its plan."""

    def resumed(self, epoch: int) -> None:
        """The run goes on from the checkpoint of an epoch."""

    def epoch_ended(self, epoch: int, logs: dict[str, float]) -> None:
        """An epoch of training ended, with its loss and accuracy."""

    def recorded(self, epoch: int, accuracies: dict[str, float]) -> None:
        """A state was recorded: accuracies of the network by subset."""

    def replayed(self, epoch: int, path) -> None:
        """A saved state was recorded: the epoch and its file."""

    def said(self, text: str) -> None:
        """Something the user should know."""

    def analyzing(self, step: str) -> None:
        """A step of the analysis begins."""
