"""Draw decision regions of a recorded run, or of a saved model without a run.

    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer 'stage4.*' --layer output \\
        --epoch 0 --epoch 10 --epoch 102 --plane 3 --out regions.png
    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --layer output --animate
    python apps/plot_regions.py runs/digits-resnet-sgd-s0 --images 3,17,42 --resolution 200
    python apps/plot_regions.py model.keras --dataset digits --layer output

Rows are layers, columns are epochs; several planes are below each other on one sheet. A single map
fills the page. With --animate the file is an animation of all recorded epochs.

--images draws the plane through three training images, named by their indices, and --resolution a
finer grid. The network classifies them again, with the weights that a run with keep_weights=true
saved, at the epochs that are drawn; nothing is written into the run. They need a backend, as does a
model.
"""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repdyn_keras.errors import InputError, StorageError, unknown
from repdyn_keras.records import RunFolder
from repdyn_keras.text import format_epochs, format_names, quoted, visible
from repdyn_keras.triplets import Triplet, numbered, triplets_of

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

    # The number of planes that are drawn at random, or triplets of indices by a plane's name.
    Planes = int | Mapping[str, Triplet] | Mapping[int, Triplet]

MAX_NAME = 40
PICTURES = (".png", ".pdf", ".svg")


def draw(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|MODEL.keras", help="Folder of a run, or a saved model.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or regular expression; repeatable. Default: those that change, or "
            "all with --animate or a model."
        ),
    ] = None,
    epoch: Annotated[
        list[float] | None, typer.Option(help="Recorded epoch; repeatable. Default: six of them.")
    ] = None,
    plane: Annotated[list[int] | None, typer.Option(help="Plane; repeatable. Default: 0.")] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="In place of --plane: indices of three training images, as in 3,17,42; repeatable."
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            help="Points along each side of a grid that is classified again. Default: the "
            "recorded grid.",
            min=2,
            max=1000,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="PNG, PDF or SVG file; a GIF for each plane with --animate. Default: regions.png "
            "or regions.gif.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Width of the sheet in inches. Default: 12.")
    ] = None,
    animate: Annotated[
        bool, typer.Option("--animate", help="A GIF with a frame for each recorded epoch.")
    ] = False,
    dataset: Annotated[
        str, typer.Option(help="With a model: the data set of the images, as in `repdyn run`.")
    ] = "digits",
    code: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODULE:FUNCTION",
            help="With --images or --resolution: the network of a run that is your own code.",
        ),
    ] = None,
) -> None:
    """Draw decision regions of chosen layers, epochs and planes of a run or a saved model."""
    from repdyn_keras import open_run
    from repdyn_keras.figures import Sheet, animate_regions, film_strip
    from repdyn_keras.figures.parts.lookup import number_index, require
    from repdyn_keras.figures.parts.page import rendered, write_file
    from repdyn_keras.figures.parts.selection import matching_layers
    from repdyn_keras.figures.parts.sheet import on_sheet
    from repdyn_keras.figures.parts.style import without_tex
    from repdyn_keras.figures.plot_film_strip import shown_by_default
    from repdyn_keras.records.epoch_files import recorded_epoch

    out = out or Path("regions.gif" if animate else "regions.png")
    check_output(out, animate)
    own = own_planes(images or [], plane or [])
    planes: list = list(own) or plane or [0]
    is_model = source.suffix == ".keras" and not source.is_dir()
    if animate and (epoch or width or is_model):
        raise InputError(
            "Expected --animate, which shows every recorded epoch of a run on a screen, without "
            "--epoch and --width, and not with a model. Received: both. Drop one."
        )
    sheet = Sheet(
        width or Sheet().width, file_format=out.suffix[1:].lower() if not animate else "png"
    )
    if is_model:
        dynamics = of_model(source, dataset, own or max(planes) + 1, resolution)
    else:
        dynamics = open_run(source).dynamics
    names = dynamics["layer"].values.tolist()
    layers = matching_layers(layer, names) if layer else names if is_model else None
    recorded = dynamics["epoch"].values.tolist()
    epochs = [recorded_epoch(each, recorded) for each in epoch or []] or None
    if is_model or not own:
        require(dynamics, "regions")
        for number in planes:
            number_index(dynamics, "plane", number)
    if not is_model and (own or resolution):
        if animate:
            epochs = recorded
        elif epochs is None:
            with on_sheet(sheet):
                layers, epochs = shown_by_default(dynamics, layers)
        chosen = own or {n: dynamics["plane_sample"].sel(plane=n).values.tolist() for n in planes}
        require_weights(source, own, resolution, epochs)
        dynamics = classified_again(source, chosen, resolution, epochs, code)
    if animate:
        for number in planes:
            path = out.with_stem(f"{out.stem}-plane{number}") if len(planes) > 1 else out
            print(animate_regions(dynamics, layers, number, path))
        return
    with without_tex(), on_sheet(sheet):
        figure = film_strip(dynamics, planes, layers, epochs)
        if is_model:
            name_column(figure.axes[0], visible(source.name, MAX_NAME))
        write_file(out, rendered(figure, sheet.file_format))
    print(out)


def own_planes(images: Sequence[str], plane: Sequence[int]) -> dict[str, Triplet]:
    """The triplets of --images by the names of their planes, such as "3-17-42"."""
    if images and plane:
        raise InputError("Expected --plane or --images. Received: both. Drop one.")
    triplets = []
    for text in images:
        triplet = numbered(text)
        if triplet is None:
            raise InputError(
                "Expected --images as the indices of three training images, such as 3,17,42. "
                f"Received: --images {quoted(text)}."
            )
        triplets.append(triplet)
    if not triplets:
        return {}
    return {"-".join(map(str, each)): each for each in triplets_of(triplets, "--images")}


def grid_keys(planes: "Planes", resolution: int | None) -> dict:
    """The keys of a configuration that record planes on drawn grids, and only two points beside."""
    count = planes if isinstance(planes, int) else len(planes)
    given = planes if isinstance(planes, int) else [list(each) for each in planes.values()]
    keys: dict = {"planes": given, "drawn_planes": count, "report": False}
    return keys | ({"resolution": 2, "drawn_resolution": resolution} if resolution else {})


def require_weights(
    source: Path, own: Mapping[str, Triplet], resolution: int | None, epochs: Sequence[float]
) -> None:
    """Check that a run kept the weights of epochs; InputError with what mends it where it did not.

    Args:
        source: the run folder.
        own: the triplets of --images by the names of their planes.
        resolution: that of --resolution.
        epochs: the recorded epochs.
    """
    folder = RunFolder(source)
    missing = [each for each in epochs if not folder.weights_file(each).is_file()]
    if not missing:
        return
    keys = [f"planes={[list(each) for each in own.values()]}".replace(", ", ",")] if own else []
    keys += [f"drawn_resolution={resolution}"] if resolution else []
    changed = " ".join(f"--set {shlex.quote(key)}" for key in keys)
    raise InputError(
        "Expected a run that kept its weights, since --images and --resolution classify points "
        f"again. Received: {source}, without the weights of epoch"
        f"{'s' if len(missing) > 1 else ''} {format_names(format_epochs(missing))}. Run "
        "it with --set keep_weights=true, or record weights that you have: repdyn record "
        f"CHECKPOINTS --like {shlex.quote(str(source))} {changed}"
    )


def classified_again(
    source: Path, planes: "Planes", resolution: int | None, epochs: Sequence, code: str | None
) -> "xarray.Dataset":
    """The regions of a run's saved weights on other planes or grids.

    They are recorded in a folder that is removed again.

    Args:
        source: the run folder.
        planes: the indices of the three images of each plane, by its name or number.
        resolution: points along each side of the grids; None for those of the run's figures.
        epochs: the recorded epochs.
        code: the network of the run if it is the user's own code, which is then trusted.
    """
    from repdyn_keras import open_run
    from repdyn_keras.config import with_trust
    from repdyn_keras.dynamics.analysis import compute_dynamics
    from repdyn_keras.experiment.record import record_saved_weights

    run = open_run(source)
    config = with_trust(run.config, {"model": code} if code else {})
    side = resolution or max(config["resolution"], config["drawn_resolution"])
    changes = {"model": config["model"], **grid_keys(planes, side)}
    with tempfile.TemporaryDirectory() as folder:
        recorded = record_saved_weights(run.folder, Path(folder) / "run", changes, epochs)
        dynamics = compute_dynamics(recorded).load()
    kept = {name: run.dynamics.attrs[name] for name in ("title", "perfect_fit_epoch")}
    return dynamics.assign_attrs(kept).assign_coords(plane=list(planes))


def of_model(
    file: Path, dataset: str, planes: "Planes", resolution: int | None
) -> "xarray.Dataset":
    """The results of a saved model, recorded at one epoch in a folder that is removed again."""
    from repdyn_keras import record

    if not file.is_file():
        raise InputError(f"Expected RUN or MODEL.keras, a saved model. Received: no file {file}.")
    keys = {"dataset": dataset, **grid_keys(planes, resolution)}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        checkpoints.mkdir()
        shutil.copyfile(file, checkpoints / "epoch-0.keras")
        dynamics = record(checkpoints, keys, out=Path(folder) / "run").dynamics.load()
    return dynamics if isinstance(planes, int) else dynamics.assign_coords(plane=list(planes))


def name_column(ax: "Axes", name: str) -> None:
    """Name the only column of maps after the model, which was saved at an epoch nobody knows."""
    ax.set_xticklabels([name], parse_math=False)
    for text in ax.texts:
        if text.get_text() == "epoch":
            text.set_text("model")


def check_output(out: Path, animate: bool) -> None:
    """Check the suffix and the folder of the output file; InputError where they cannot be used."""
    suffix = out.suffix.lower()
    if animate and suffix != ".gif":
        raise unknown("suffix of --out with --animate", out.suffix, [".gif"])
    if not animate and suffix not in PICTURES:
        hint = "For an animation, .gif, add --animate." if suffix == ".gif" else ""
        raise unknown("suffix of --out", out.suffix, PICTURES, hint)
    if not out.absolute().parent.is_dir():
        raise InputError(
            f"Expected --out in an existing folder. Received: {out}, and there is no folder "
            f"{out.absolute().parent}."
        )


def main() -> None:
    """Run the program; an error is one line on stderr and exit code 2."""
    try:
        typer.run(draw)
    except (InputError, StorageError, OSError) as error:
        print(f"plot_regions: error: {visible(error)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
