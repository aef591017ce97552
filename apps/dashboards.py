"""Send the numbers and pictures of a recorder to a dashboard while a network trains.

    python apps/dashboards.py tensorboard
    python apps/dashboards.py mlflow
    python apps/dashboards.py wandb

Everything is written below --out, by default runs/dashboard-NAME, and nothing leaves the machine:
MLflow writes to a local file store, and Weights & Biases runs offline. Each needs its package, see
the extra `dashboards`.
"""

import importlib.util
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import typer
from sklearn.datasets import load_digits

from repdyn_keras import RepresentationRecorder, open_run, plot_regions
from repdyn_keras.errors import InputError, StorageError, not_installed
from repdyn_keras.figures.parts.page import new_figure
from repdyn_keras.text import visible

Listener = Callable[[int, dict], None]


def numbers(summary: dict) -> dict[str, float]:
    """What a record says in numbers, without the paths."""
    return {name: value for name, value in summary.items() if isinstance(value, float)}


def regions_png(folder: str, epoch: int) -> bytes:
    """The decision regions of the output at an epoch, as a PNG file."""
    figure = new_figure(5.0, 4.0, "constrained")
    plot_regions(open_run(folder).dynamics, "output", epoch, ax=figure.add_subplot())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def to_tensorboard(folder: Path) -> tuple[Listener, Callable[[], None]]:
    """A listener for `on_record` that writes an event file, and a function that closes it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))

    def listen(epoch: int, summary: dict) -> None:
        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in numbers(summary).items()
        ]
        image = Summary.Image(encoded_image_string=regions_png(summary["folder"], epoch))
        values.append(Summary.Value(tag="regions", image=image))
        event = Event(wall_time=time.time(), step=epoch, summary=Summary(value=values))
        writer.add_event(event)
        writer.flush()

    return listen, writer.close


def to_mlflow(folder: Path) -> tuple[Listener, Callable[[], None]]:
    """A listener that logs to a local file store of MLflow, and a function that ends its run."""
    # MLflow asks for a database by default; a folder is enough for one training.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    mlflow.set_tracking_uri(folder.absolute().as_uri())
    mlflow.set_experiment("repdyn")
    mlflow.start_run(run_name="dashboard")

    def listen(epoch: int, summary: dict) -> None:
        mlflow.log_metrics(numbers(summary), step=epoch)
        picture = folder / f"regions-{epoch}.png"
        picture.write_bytes(regions_png(summary["folder"], epoch))
        mlflow.log_artifact(str(picture), "regions")

    return listen, mlflow.end_run


def to_wandb(folder: Path) -> tuple[Listener, Callable[[], None]]:
    """A listener that logs to an offline run of Weights & Biases, and a function that ends it."""
    import wandb
    from PIL import Image

    run = wandb.init(project="repdyn", mode="offline", dir=str(folder))

    def listen(epoch: int, summary: dict) -> None:
        picture = Image.open(io.BytesIO(regions_png(summary["folder"], epoch)))
        run.log({**numbers(summary), "regions": wandb.Image(picture)}, step=epoch)

    return listen, run.finish


DASHBOARDS = {"tensorboard": to_tensorboard, "mlflow": to_mlflow, "wandb": to_wandb}


def train(
    dashboard: Annotated[Literal["tensorboard", "mlflow", "wandb"], typer.Argument()],
    out: Annotated[
        Path | None, typer.Option(help="New folder. Default: runs/dashboard-NAME.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 8,
) -> None:
    """Train a small network on digits, and send its records to a dashboard."""
    if importlib.util.find_spec(dashboard) is None:
        raise not_installed(dashboard, {dashboard: "dashboards"}, "this example")
    out = out or Path("runs") / f"dashboard-{dashboard}"
    if out.exists():
        raise InputError(f"{out} exists. Expected a new folder as --out. Received: an old one.")
    logs = out / "logs"
    logs.mkdir(parents=True)
    listen, close = DASHBOARDS[dashboard](logs)
    digits = load_digits()
    x, y = (digits.images[..., None] / 8 - 1).astype("float32"), digits.target
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu", name="early"),
            keras.layers.Conv2D(32, 3, activation="relu", name="late"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="head"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    recorder = RepresentationRecorder(
        out / "run",
        x[:512],
        y[:512],
        test=(x[1500:], y[1500:]),
        planes=3,
        drawn_planes=1,
        on_record=listen,
    )
    model.fit(x[:1500], y[:1500], epochs=epochs, verbose=0, callbacks=[recorder])
    close()
    print(visible(logs))


def main() -> None:
    """Run the program; an error is one line on stderr and exit code 2."""
    try:
        typer.run(train)
    except (InputError, StorageError, OSError) as error:
        print(f"dashboards: error: {visible(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
