"""Simulated summaries of studies: four cells over seeds, with no effect unless one is put in."""

import json

import numpy as np
import xarray as xr

LAYERS = {
    "resnet": ["stem", *(f"stage{s}_block{b}" for s in (1, 2, 3) for b in (1, 2)), "pooled"],
    "vit": ["patch_embedding", *(f"block{index:02d}" for index in range(1, 7)), "final_token"],
}
ALL_LAYERS = [*LAYERS["resnet"], *LAYERS["vit"], "output"]
CELLS = tuple(f"{model} {optimizer}" for model in LAYERS for optimizer in ("sgd", "adam"))
SIMILARITIES, READINGS = ["cka", "region_agreement"], ["aligned", "recalibrated", "raw"]
BORDERS, FIT = 8, 64
# Kinds, times (octaves from the perfect fit) and sizes of the borders of every block.
BORDER_KINDS, BORDER_TIMES = (1, 2), (-1.0, 0.2)
CONTRAST, FALL = 0.15, 0.1
CONFIGURATION = {"dataset": "digits", "label_noise": 0.2, "schedule": "constant"}
CONFIGURATION |= {"epochs": 8 * FIT, "batch_size": 64}


def simulated_summary(seeds: int = 10, deviation: float = 0.01, seed: int = 0) -> xr.Dataset:
    """The summary of a study of four cells, whose runs differ by chance only.

    Every block has a border by state an octave before the perfect fit, and one by restlessness
    shortly after it.

    Args:
        seeds: number of seeds.
        deviation: standard deviation of the values of blocks.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    names = [(cell, number) for number in range(seeds) for cell in CELLS]
    models = [cell.split()[0] for cell, _ in names]
    runs, layers = len(names), len(ALL_LAYERS)
    by_block = (runs, len(SIMILARITIES), len(READINGS), layers)
    position, is_block = np.full((runs, layers), np.nan), np.zeros((runs, layers), np.int8)
    for run, model in enumerate(models):
        for place, layer in enumerate([*LAYERS[model], "output"]):
            index = ALL_LAYERS.index(layer)
            position[run, index] = place
            is_block[run, index] = "block" in layer
    absent = np.broadcast_to(np.isnan(position)[:, None, None], by_block)

    def draw(mean, *more):
        values = mean + deviation * rng.normal(size=(*by_block, *more))
        values[absent] = np.nan
        return values

    borders = {
        name: np.full((*by_block, BORDERS), np.nan)
        for name in ("epoch", "u", "kind", "z", "contrast", "restlessness")
    }
    for index, (kind, u) in enumerate(zip(BORDER_KINDS, BORDER_TIMES, strict=True)):
        borders["u"][..., index] = np.where(absent, np.nan, u)
        borders["epoch"][..., index] = np.where(absent, np.nan, FIT * 2**u)
        borders["kind"][..., index] = np.where(absent, np.nan, kind)
        borders["z"][..., index] = np.where(absent, np.nan, 6 - index)
        borders["contrast"][..., index] = draw(CONTRAST)
        borders["restlessness"][..., index] = draw(FALL)
    block_dims = ("run", "similarity", "reading", "layer")
    data = {
        "is_block": (("run", "layer"), is_block),
        "position": (("run", "layer"), position),
        "distinguishability": (block_dims, draw(0.1)),
        "noise_share": (block_dims, draw(0.1)),
        "change": (block_dims, draw(0.5)),
        "synchronization_mean": (
            block_dims[:3],
            0.9 + deviation * rng.normal(size=by_block[:3]),
        ),
        "n_records": (("run", "reading"), np.tile([31, 31, 50], (runs, 1))),
        "perfect_fit_epoch": ("run", np.full(runs, float(FIT))),
        "memorized_10_epoch": ("run", np.full(runs, FIT / 4)),
        "memorized_90_epoch": ("run", np.full(runs, FIT * 0.9)),
        "test_fall": ("run", np.full(runs, 0.01)),
        "test_recovery": ("run", np.zeros(runs)),
        "images_hash": ("run", [f"hash of {number}" for _, number in names]),
    }
    data |= {f"border_{name}": ((*block_dims, "border"), v) for name, v in borders.items()}
    configurations = {
        cell: CONFIGURATION | dict(zip(("model", "optimizer"), cell.split(), strict=True))
        for cell in CELLS
    }
    return xr.Dataset(
        data,
        coords={
            "run": [f"{cell.replace(' ', '-')}-s{number}" for cell, number in names],
            "cell": ("run", [cell for cell, _ in names]),
            "seed": ("run", [number for _, number in names]),
            "model": ("run", models),
            "optimizer": ("run", [cell.split()[1] for cell, _ in names]),
            "layer": ALL_LAYERS,
            "similarity": SIMILARITIES,
            "reading": READINGS,
            "border": np.arange(BORDERS),
        },
        attrs={
            "title": "simulated",
            "cells": json.dumps(configurations),
            "calibration": "",
            "not_comparable": "[]",
            "missing": "{}",
        },
    )
