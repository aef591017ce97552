"""One configured training from its data to its dynamics."""

from pathlib import Path

from repdyn_keras.config import Config, load_config, resolve, to_toml, with_trust
from repdyn_keras.experiment.backends import use_backend
from repdyn_keras.experiment.folders import choose_folder, make_folder, run_name
from repdyn_keras.experiment.versions import versions
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import write_text


def run(
    config: Config | dict | str | Path | None = None,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    dry_run: bool = False,
):
    """Trains one network, records it, analyzes and draws: the command `repdyn run` in Python.

    Args:
        config: a `Config`, its keys as a dict, a TOML file, or None for the defaults.
        out: folder to create; None for `runs/<dataset>-<model>-<optimizer>-s<seed>`, with `-2`,
            `-3`, ... when taken.
        watcher: is told what happens.
        dry_run: only plans; writes nothing and returns the plan.

    Returns:
        The finished run, whose `dynamics` is an `xarray.Dataset`; with `dry_run` the plan.

    Raises:
        InputError: bad configuration or data, a folder that exists, or another backend than the
            one that Keras already runs on.

    Example:
        >>> run({"epochs": 2, "planes": 3}).dynamics["cka"].sizes["epoch"]  # doctest: +SKIP
        3
    """
    watcher = watcher or Watcher()
    config = resolve(as_config(config))
    folder = RunFolder(choose_folder(run_name(config), out))
    use_backend(config.backend)
    from repdyn_keras.experiment.training import Training

    training = Training(config, folder, watcher)
    if dry_run:
        plan = training.timed_plan()
        watcher.started(folder, config, plan)
        training.say_notes()
        return plan
    make_folder(folder.path)
    write_text(folder.config_file, to_toml(config, versions()))
    watcher.started(folder, config, training.plan)
    training.say_notes()
    training.fit()

    from repdyn_keras.dynamics import analyze, open_run
    from repdyn_keras.figures import draw_all

    dynamics = analyze(folder, watcher.analyzing)
    watcher.analyzing("figures")
    draw_all(dynamics, folder.figures)
    return open_run(folder.path)


def as_config(config) -> Config:
    """A configuration given in any of the forms that `run` takes."""
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    return Config(**(config if isinstance(config, dict) else with_trust(load_config(config), {})))
