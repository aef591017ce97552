"""The summary of a new record, for logs and dashboards."""

from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.measures.cka import cosines
from repdyn_keras.records import RunFolder
from repdyn_keras.records.tables import accuracies_of

if TYPE_CHECKING:
    import xarray

# What `on_record` receives: numbers by name, and the paths "folder" and "record".
Summary = dict[str, float | str]


def record_summary(folder: RunFolder, epoch: float, record: "xarray.Dataset") -> Summary:
    """Accuracies of the network, and the similarity of every layer to earlier records.

    Args:
        folder: the run folder, which holds the record.
        epoch: of the record.
        record: the record.

    Returns:
        The network's accuracies `train_accuracy`, `clean_accuracy`, `memorized`, `resisted` and
        `test_accuracy`, as far as they are known; `similarity_to_start/LAYER` and
        `similarity_to_previous/LAYER`, the CKA with the first record and with the one before,
        without layers in which it is undefined; and the paths `folder` and `record`.
    """
    summary: Summary = {}
    if "probe_accuracy" in record:
        subsets = folder.constants()["subset"].values.tolist()
        summary |= accuracies_of(record, subsets)
    earlier = [each for each in folder.epochs() if each < epoch]
    layers = [str(layer) for layer in record["layer"].values]
    now, is_dead = record["fingerprint"].values, record["dead"].values.astype(bool)
    for name, others in (("start", earlier[:1]), ("previous", earlier[-1:])):
        for other in others:
            before = folder.fingerprints([other], slice(None))[0]
            was_dead = folder.series([other], ["dead"])["dead"][0].astype(bool)
            for index in np.flatnonzero(~(is_dead | was_dead)):
                value = float(cosines(np.stack([before[index], now[index]]))[0, 1])
                if np.isfinite(value):
                    summary[f"similarity_to_{name}/{layers[index]}"] = value
    return summary | {"folder": str(folder.path), "record": str(folder.record_file(epoch))}
