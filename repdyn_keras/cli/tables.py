"""What the commands print when they are done."""

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from repdyn_keras.cli.live import clock
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.measures.phases import MIN_RECORDS
from repdyn_keras.text import visible

# Of a layer's name in a table beside numbers, and of a title.
NAME_LETTERS, TITLE_LETTERS = 60, 200


def print_keys() -> None:
    """Every key of a configuration, its default and its meaning."""
    from repdyn_keras.config import describe_keys

    table = Table("key", "default", "meaning", title="Keys of a run", title_justify="left")
    for row in describe_keys():
        table.add_row(*map(escape, row))
    Console().print(table)


class PlanPrinter(Watcher):
    """Prints what a run would do."""

    def started(self, folder, config, plan):
        train, compared, test = plan.images
        epochs, records = config.epochs, len(plan.epochs)
        table = Table("what", "plan", show_header=False, title="Nothing was written or trained")
        table.add_row("folder", literal(folder.path))
        table.add_row("images", f"{train} for training, {compared} compared, {test} for testing")
        table.add_row("network", literal(f"{config.model}, {plan.parameters:,} weights"))
        table.add_row("layers", literal(", ".join(plan.layers)))
        table.add_row("epochs", f"{epochs} of {plan.steps} steps")
        table.add_row("recorded epochs", f"{records}: {', '.join(map(str, plan.epochs))}")
        table.add_row("disk", f"{plan.disk_bytes / 1e6:.0f} MB")
        table.add_row("time", f"about {clock(plan.seconds)}, without probes and pictures")
        Console().print(table)

    def message(self, text):
        Console().print(literal(text), soft_wrap=True)


class ReplayPrinter(Watcher):
    """Prints what recording checkpoints has to say, and each file as it is recorded."""

    def message(self, text):
        Console().print(literal(text), soft_wrap=True)

    def replayed(self, epoch, path):
        self.message(f"epoch {epoch}: {path.name}")


def print_layers(model, tensors: dict, chosen: set[str], output) -> None:
    """The layers that can be recorded, with their shapes."""
    table = Table("layer", "output of one image", "recorded by default", title=title(model.name))
    for name, tensor in tensors.items():
        table.add_row(literal(name), sides(tensor), "yes" if name in chosen else "")
    table.add_row("output", sides(output), "always")
    Console().print(table)


def sides(tensor) -> str:
    """The shape of one image's part of a tensor."""
    return " x ".join("any" if side is None else str(side) for side in tensor.shape[1:])


def print_comparison(comparison) -> None:
    """For each layer of the first run: the same layer of the other, and the nearest one."""
    console = Console()
    for run in "ab":
        console.print(literal(f"{run.upper()}: {comparison.attrs[f'title_{run}']}", TITLE_LETTERS))
    others = [str(name) for name in comparison["layer_b"].values]
    for moment in range(comparison.sizes["moment"]):
        here = comparison.isel(moment=moment)
        cka, spread = here["cka_layers"].values, here["cka_layers_null"].values
        table = Table(
            title=f"A at epoch {int(here['epoch_a'])}, B at epoch {int(here['epoch_b'])}",
            caption=f"CKA; unrelated layers: 0 +- {np.nanmean(spread):.4f}",
        )
        table.add_column("layer of A", no_wrap=True)
        table.add_column("same name in B", justify="right")
        table.add_column("nearest layer of B", no_wrap=True)
        table.add_column("CKA", justify="right")
        for row, name in enumerate(map(str, comparison["layer_a"].values)):
            same = number(cka[row, others.index(name)]) if name in others else ""
            if np.isnan(cka[row]).all():
                table.add_row(literal(name, NAME_LETTERS), same, "", "-")
                continue
            best = int(np.nanargmax(cka[row]))
            named = (literal(one, NAME_LETTERS) for one in (name, others[best]))
            table.add_row(next(named), same, next(named), number(cka[row, best]))
        console.print(table)


def print_checks(rows: list[tuple[str, bool, str]]) -> None:
    """Names, whether they are good, and a word on each."""
    table = Table("what", "", "")
    for name, good, word in rows:
        table.add_row(literal(name), "[green]ok[/]" if good else "[red]no[/]", literal(word))
    Console().print(table)


def print_results(run, seconds: float | None = None) -> None:
    """What a finished run found, by layer and for the model, and where it wrote it."""
    dynamics = run.dynamics
    console = Console()
    layers = Table(
        title=title(dynamics.attrs["title"]),
        caption="accuracy of each layer's probe at the end (output: of the network); phases by CKA",
    )
    layers.add_column("layer", no_wrap=True)
    for column in ("given labels", "test", "phases", "p", "settles"):
        layers.add_column(column, justify="right")
    for place, name in enumerate(dynamics["layer"].values):
        here = dynamics.isel(layer=place)
        layers.add_row(
            literal(name, NAME_LETTERS),
            *(last_accuracy(here, subset) for subset in ("train", "test")),
            str(int(here["phase"].max())),
            number(here["phases_p"].item(), 3),
            number(here["settling_epoch"].item(), 0),
        )
    console.print(layers)
    model = Table(show_header=False)
    fit = dynamics.attrs["perfect_fit_epoch"]
    model.add_row("perfect fit (99.5% of the given labels)", epoch_or_not(fit))
    model.add_row("memorized share of the wrong labels", number(dynamics.attrs["memorized_share"]))
    model.add_row("synchronization of the blocks", number(dynamics.attrs["synchronization_mean"]))
    if seconds is not None:
        model.add_row("time", f"{seconds:.0f} s")
    console.print(model)
    if dynamics.sizes["epoch"] < MIN_RECORDS:
        print(f"Fewer than {MIN_RECORDS} records: phases were not tested.")
    print("p > 0.05: not distinguished from even drift, hence one phase.")
    print("Written:")
    for path in (run.folder.dynamics_file, run.folder.history_file, run.folder.figures):
        if path.exists():
            print(f"  {visible(path)}")


def literal(text: object, most: int | None = None) -> Text:
    """Somebody else's words as they are: no markup, no emoji by name, no control characters."""
    return Text(visible(text, most))


def title(text: object) -> Text:
    """Somebody else's words as the title of a table."""
    return Text(visible(text, TITLE_LETTERS), style="table.title")


def last_accuracy(here, subset: str) -> str:
    """A layer's accuracy at the last recorded epoch."""
    if "probe_accuracy" not in here:
        return ""
    return number(here["probe_accuracy"].sel(subset=subset).values[-1])


def number(value: float, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def epoch_or_not(epoch: float) -> str:
    """An epoch, or that it was not reached."""
    return "not reached" if np.isnan(epoch) else f"epoch {epoch:.0f}"
