"""The command `repdyn`. Modules import what a command needs only when it runs."""

from repdyn_keras.cli.app import app, main

__all__ = ["app", "main"]
