"""The page of a run: one HTML file that needs nothing else."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from repdyn_keras.dynamics.remarks import remarks
from repdyn_keras.dynamics.story import story
from repdyn_keras.errors import InputError
from repdyn_keras.records import SCHEMA_VERSION
from repdyn_keras.report.curves import curves_svg
from repdyn_keras.report.events import absent_events
from repdyn_keras.report.run_data import run_data
from repdyn_keras.report.suspects import suspects_of
from repdyn_keras.text import exact_epoch, format_epochs, visible

if TYPE_CHECKING:
    import xarray

    from repdyn_keras.dynamics import Run

MAX_TITLE = 200
NONE = "'none'"
# In an order in which each may use those before it.
RUN_SCRIPTS = ("data.js", "charts.js", "layers.js", "regions.js", "tables.js", "page.js")


def report_html(run: "Run", live: str = "") -> str:
    """The page of a run, as HTML that shows the same from a disk, a mail or a server.

    It requests nothing from any host, and a policy in it forbids that. Text of the run, such as
    names of layers, is shown as it is, and nothing in it is executed.

    Args:
        run: an opened run.
        live: what identifies the records, if a server offers it under `version`: the page then
            loads itself again when they change.

    Raises:
        InputError: the run's files are damaged.
    """
    history, problem = run.known_history()
    notes = [f"Steps of the learning rate are left out. {problem}"] if problem else []
    dynamics = run.dynamics
    if dynamics.attrs.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"Expected results of format {SCHEMA_VERSION}. Received: "
            f"{run.folder.dynamics_file}, of another version. `repdyn analyze` computes them anew "
            "where the records are there."
        )
    return page_of(
        dynamics,
        history,
        config_text(run),
        notes,
        live,
        is_replay=run.folder.is_replay(),
        images=about_images(run),
    )


def page_of(
    dynamics: "xarray.Dataset",
    history: Sequence[Mapping[str, float]] = (),
    config: str = "",
    notes: Sequence[str] = (),
    live: str = "",
    is_replay: bool = False,
    images: str = "",
) -> str:
    """The page of a run, see `report_html`.

    Args:
        dynamics: its Dataset.
        history: the rows of `history.csv`.
        config: the file `run.toml`; empty for a run of a callback alone.
        notes: warnings beside those that the Dataset gives.
        live: see `report_html`.
        is_replay: whether `repdyn record` recorded saved weights.
        images: the number of images in words; empty if it is unknown.
    """
    header, payload = run_data(dynamics, history)
    script = script_of(*RUN_SCRIPTS)
    subsets = {subset["key"] for subset in header["subsets"]}
    return template("run.html.jinja").render(
        title=visible(dynamics.attrs["title"], MAX_TITLE),
        about="; ".join(filter(None, (about(dynamics), images))),
        live=live,
        policy=policy(script, is_served=bool(live)),
        style=trusted(asset("page.css")),
        script=trusted(script),
        payload=payload,
        story=story(dynamics, history),
        curves=trusted_curves(curves_svg(dynamics)),
        events=header["events"],
        shown_layers=len(header["layers"]),
        all_layers=dynamics.sizes["layer"],
        shown_epochs=len(header["epochs"]),
        all_epochs=dynamics.sizes["epoch"],
        has_regions=bool(header["planes"]),
        has_progress=header["hasProgress"],
        has_probes=bool(subsets),
        has_wrong_labels="mislabeled_given" in subsets,
        chance=f"{1 / max(1, int(dynamics.attrs['n_classes'])):.2g}",
        suspects=suspects_of(dynamics),
        n_suspects=int((dynamics["suspicion"] > 0).sum()) if "suspicion" in dynamics else 0,
        warnings=[*notes, *remarks(dynamics)],
        config=config,
        is_replay=is_replay,
        absent=absent_events(dynamics, history),
        version=version(),
    )


def runs_html(runs: "Sequence[Run]") -> str:
    """The pages of several runs side by side, which follow the same epoch and choice.

    Each is in a frame of its own, which may run its script and nothing else.

    Args:
        runs: opened runs.

    Raises:
        InputError: a run's files are damaged.
    """
    titles = [visible(run.dynamics.attrs["title"], MAX_TITLE) for run in runs]
    epochs = sorted({epoch for run in runs for epoch in run.dynamics["epoch"].values.tolist()})
    script = script_of("runs.js")
    return template("runs.html.jinja").render(
        titles=titles,
        epochs=list(map(exact_epoch, epochs)),
        epoch_texts=format_epochs(epochs),
        policy=policy(script, script_of(*RUN_SCRIPTS)),
        style=trusted(asset("page.css")),
        script=trusted(script),
        runs=zip(titles, map(report_html, runs), strict=True),
    )


def about(dynamics) -> str:
    """The size of the recording in one line."""
    epochs = dynamics["epoch"].values
    records = f"{len(epochs)} recorded epochs" if len(epochs) > 1 else "one recorded epoch"
    first, last = format_epochs([epochs[0], epochs[-1]])
    span = f"from {first} to {last}" if len(epochs) > 1 else first
    layers = dynamics.sizes["layer"]
    return f"{records}, {span}; {layers} layer{'s' if layers > 1 else ''}"


def about_images(run: "Run") -> str:
    """How many images were compared, and how many have wrong labels, if the run has records."""
    if not run.folder.holds_records():
        return ""
    constants = run.folder.constants()
    count = constants.sizes["image"]
    text = f"{count} images compared"
    if "label_given" in constants and "label_true" in constants:
        wrong = int((constants["label_given"].values != constants["label_true"].values).sum())
        text += f", {wrong} of them with a wrong label" if wrong else ""
    return text


def config_text(run: "Run") -> str:
    """The file `run.toml` or `record.toml`, or nothing if a callback recorded the run."""
    path = run.folder.settings_file()
    if path is None:
        return ""
    # Raises InputError for a damaged file.
    return run.folder.checksums.check(path).read_text("utf-8", errors="replace")


def version() -> str:
    """The version of this package."""
    from repdyn_keras import __version__

    return __version__


def policy(*scripts: str, is_served: bool = False) -> str:
    """The content security policy of a page: its own scripts, and no request to any host.

    A page that is served may ask its server.
    """
    digests = [hashlib.sha256(script.encode("utf-8")).digest() for script in scripts]
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    own = "'self'" if is_served else NONE
    return (
        f"default-src {NONE}; script-src {allowed or NONE}; style-src 'unsafe-inline'; "
        f"img-src data:; connect-src {own}; base-uri {NONE}; form-action {NONE}"
    )


def asset(name: str) -> str:
    """The text of a file of this package."""
    return (files("repdyn_keras.report") / "assets" / name).read_text("utf-8")


def script_of(*names: str) -> str:
    """Scripts of this package as one, after what all pages share."""
    return "\n".join(map(asset, ("common.js", *names)))


def template(name: str):
    """A jinja2 template of this package, which escapes all text that is not trusted."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(asset(name))


def trusted(text: str):
    """Text of this package, which is not escaped."""
    from markupsafe import Markup

    return Markup(text)


def trusted_curves(curves: dict[str, Any] | None) -> dict[str, Any] | None:
    """The curves with their SVG, whose text matplotlib has escaped."""
    return curves and {**curves, "svg": trusted(curves["svg"])}
