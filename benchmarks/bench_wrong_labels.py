"""How well histories of images find wrong labels, beside cleanlab's confident learning.

    python benchmarks/bench_wrong_labels.py FOLDER              # four cells, seeds 0 to 4
    python benchmarks/bench_wrong_labels.py FOLDER --seeds 10 11 --cells vit-adam
    python benchmarks/bench_wrong_labels.py FOLDER --cleanlab   # needs the extra `bench`

Trains each cell on digits with 20% wrong labels, without planes, into FOLDER, where runs that are
there already are read, and prints for each score the area under the ROC curve and the precision at
the number of wrong labels. The seeds of the default are not those on which the suspicion was
chosen (10 and 11).

cleanlab needs probabilities that are out of sample. They are those of five folds: by the same
network, trained on the other four for 20 epochs, before it memorizes; and by a support vector
machine on the pixels.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr
from measuring import machine
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import SVC

from repdyn_keras import open_run, run
from repdyn_keras.config import Config, resolve
from repdyn_keras.datasets import load
from repdyn_keras.experiment import Watcher

CELLS = ("resnet-sgd", "resnet-adam", "vit-sgd", "vit-adam")
OPTIONS = {"planes": 0, "report": False, "n_eval": 64, "cka_batch": 64}
FOLDS, FOLD_EPOCHS = 5, 20


def config_of(cell: str, seed: int, **more) -> Config:
    """The configuration of a run."""
    model, optimizer = cell.split("-")
    return resolve(Config(model=model, optimizer=optimizer, seed=seed, **OPTIONS, **more))


def scores_of(dynamics: xr.Dataset) -> dict[str, np.ndarray]:
    """The scores of a run; the larger, the more suspicious."""
    names = ("learned_epoch", "first_learned_epoch")
    late = {name: dynamics[name].fillna(1e9).values for name in names}
    return {
        "suspicion (default)": dynamics["suspicion"].values,
        "confidence": -dynamics["confidence"].values,
        "correctness": -dynamics["correctness"].values,
        "area under the margin": -dynamics["area_under_margin"].values,
        "variability": dynamics["variability"].values,
        "epoch of learning": late["learned_epoch"],
        "epoch of first learning": late["first_learned_epoch"],
        "forgetting events": dynamics["forgetting_events"].values,
        "prediction depth, mean over records": dynamics["prediction_depth"].mean("epoch").values,
    }


def by_network(cell: str, seed: int) -> np.ndarray:
    """(n, classes) probabilities of the training images, by networks that trained on others."""
    import keras

    from repdyn_keras.models import build_model, build_optimizer

    config = config_of(cell, seed)
    data = load(config)
    x, y = data.x_train[:], data.y_train
    found = np.empty((len(y), data.n_classes))
    for number, (fitted, left_out) in enumerate(folds().split(x, y)):
        keras.utils.set_random_seed(FOLDS * seed + number)
        model = build_model(config, x.shape[1:], data.n_classes)
        steps = len(fitted) // config.batch_size * config.epochs
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(build_optimizer(config, steps), loss)
        options = {"batch_size": config.batch_size, "epochs": FOLD_EPOCHS, "verbose": 0}
        model.fit(x[fitted], y[fitted], **options)
        logits = keras.ops.convert_to_tensor(model.predict(x[left_out], verbose=0))
        found[left_out] = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    return found


def by_pixels(cell: str, seed: int) -> np.ndarray:
    """The same by a support vector machine on the pixels."""
    data = load(config_of(cell, seed))
    pixels = data.x_train[:].reshape(len(data.y_train), -1)
    classifier = SVC(probability=True, random_state=0)
    return cross_val_predict(classifier, pixels, data.y_train, cv=folds(), method="predict_proba")


def folds() -> StratifiedKFold:
    """The folds, each with all classes."""
    return StratifiedKFold(FOLDS, shuffle=True, random_state=0)


def by_cleanlab(cell: str, seed: int) -> tuple[dict, dict, dict]:
    """Scores, seconds of the probabilities, and what confident learning takes for wrong."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    found, seconds, learned = {}, {}, {}
    labels = load(config_of(cell, seed)).y_train
    for name, probabilities in (("network", by_network), ("SVM on pixels", by_pixels)):
        start = time.perf_counter()
        values = probabilities(cell, seed)
        seconds[name] = time.perf_counter() - start
        for method in ("self_confidence", "normalized_margin"):
            quality = get_label_quality_scores(labels, values, method=method)
            found[f"cleanlab, {name}, {method}"] = -quality
        confident = find_label_issues(labels, values, filter_by="confident_learning")
        learned[name] = confident
    return found, seconds, learned


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--cells", nargs="+", default=list(CELLS))
    parser.add_argument("--cleanlab", action="store_true")
    given = parser.parse_args()
    found: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}
    suspects, seconds, named = [], [], {}
    for cell in given.cells:
        for seed in given.seeds:
            path = given.folder / f"{cell}-s{seed}"
            if not (path / "dynamics.nc").is_file():
                run(config_of(cell, seed), out=path, watcher=Watcher())
            dynamics = open_run(path).dynamics
            wrong = (dynamics["label_given"] != dynamics["label_true"]).values
            scores = scores_of(dynamics)
            if given.cleanlab:
                others, taken, confident = by_cleanlab(cell, seed)
                # The ids are the indices of the training images.
                place = dynamics["image_id"].values
                scores |= {name: values[place] for name, values in others.items()}
                seconds.append(taken)
                for name, found_wrong in confident.items():
                    issues = found_wrong[place]
                    named.setdefault(name, []).append((wrong[issues].mean(), issues[wrong].mean()))
            for name, values in scores.items():
                first = np.argsort(-values, kind="stable")[: wrong.sum()]
                quality = float(roc_auc_score(wrong, values)), float(wrong[first].mean())
                found.setdefault(name, {})[cell, seed] = quality
            above = scores["suspicion (default)"] > 0
            is_right = (dynamics["label_before"] == dynamics["label_true"]).values[wrong]
            suspects.append((wrong[above].mean(), above[wrong].mean(), is_right.mean()))
    print(machine("keras", "scikit-learn", *(["cleanlab"] if given.cleanlab else [])))
    print(f"\n| score | AUC | worst | {' | '.join(given.cells)} | precision | worst |")
    print(f"|---|---|---|{'---|' * len(given.cells)}---|---|")
    for name, runs in found.items():
        areas, shares = np.array(list(runs.values())).T
        by_cell = [
            np.mean([a for (c, _), (a, _) in runs.items() if c == cell]) for cell in given.cells
        ]
        cells = " | ".join(f"{value:.4f}" for value in by_cell)
        print(
            f"| {name} | {areas.mean():.4f} | {areas.min():.4f} | {cells} "
            f"| {shares.mean():.3f} | {shares.min():.3f} |"
        )
    precision, recall, right = np.mean(suspects, axis=0)
    print(
        f"\nsuspicion above 0: precision {precision:.3f}, recall {recall:.3f}; label_before is the "
        f"true label of {right:.1%} of the wrongly labelled images"
    )
    for name in seconds[0] if seconds else ():
        precision, recall = np.mean(named[name], axis=0)
        mean = np.mean([each[name] for each in seconds])
        print(
            f"cleanlab, {name}: confident learning has precision {precision:.3f} and recall "
            f"{recall:.3f}; its probabilities take {mean:.1f} s a run"
        )


if __name__ == "__main__":
    main()
