"""The command `repdyn`: words only, everything else is imported when it is used."""

from repdyn_keras.cli.app import app, main

__all__ = ["app", "main"]
