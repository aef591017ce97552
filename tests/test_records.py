"""Run folders: data is read as it was written, and damaged files raise errors."""

import csv
import os

import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr
from helpers import assert_input_error

from repdyn_keras.config import Config, to_toml
from repdyn_keras.records import SCHEMA_VERSION, RunFolder, read_netcdf, write_netcdf
from repdyn_keras.records.atomic import write_bytes
from repdyn_keras.records.netcdf import read_arrays, read_attribute

pytestmark = pytest.mark.without_keras

ODD_FLOATS = [0.0, -0.0, 1 / 3, np.nan, np.inf, -np.inf, 1e-45, 3e38, -1e-300]


def dataset(seed=0):
    rng = np.random.default_rng(seed)
    regions = rng.integers(0, 256, size=(3, 2, 4, 4)).astype(np.uint8)
    regions[0, 0, 0] = 255
    return xr.Dataset(
        {
            "fingerprint": (("layer", "pair"), rng.normal(size=(3, 50)).astype(np.float32)),
            "accuracy": (("layer",), np.array([0.1 + 0.2, np.nan, 1.0]) + seed),
            "odd": (("number",), np.array(ODD_FLOATS)),
            "odd32": (("number",), np.array(ODD_FLOATS).astype(np.float32)),
            "regions": (("layer", "plane", "row", "column"), regions),
            "wide": (("layer",), np.array([0, 256, 65535], np.uint16)),
            "label": (("image",), np.array([0, -1, 2**40])),
            "scalar": ((), 0.125 + seed),
            "dead": (("layer",), np.array([0, 1, 0], np.uint8)),
        },
        coords={"layer": ["stem", "stage1_block1", "output"]},
        attrs={"epoch": seed, "weights_hash": "ab" * 32, "images_hash": "cd", "name": "näme"},
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "one.nc"
    write_netcdf(dataset(), path)
    return path


def assert_same_bits(one, other, name=""):
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape), name
    assert one.tobytes() == other.tobytes(), name


def assert_same(actual, wanted):
    """Checks that every variable and attribute is bit-identical."""
    assert set(actual.variables) == set(wanted.variables)
    for name in wanted.data_vars:
        assert actual[name].dims == wanted[name].dims, name
        assert_same_bits(actual[name].values, wanted[name].values, name)
    assert actual["layer"].values.tolist() == wanted["layer"].values.tolist()
    assert dict(actual.attrs) == {**wanted.attrs, "schema_version": SCHEMA_VERSION}


# --- files ------------------------------------------------------------------------------------


def test_a_dataset_is_read_bit_for_bit_into_memory(path):
    data = dataset()
    write_netcdf(data, path)
    assert data.identical(dataset()), "writing leaves the Dataset unchanged"
    with h5netcdf.File(path, "r") as file:
        assert all("_FillValue" not in variable.attrs for variable in file.variables.values())
    actual = read_netcdf(path)
    write_netcdf(dataset(1), path)
    assert_same(actual, dataset())
    assert_same(read_netcdf(path), dataset(1))
    assert (read_attribute(path, "epoch"), read_attribute(path, "weights_hash")) == (1, "ab" * 32)


def test_plain_arrays_equal_those_of_the_dataset(path):
    names = ["regions", "accuracy", "scalar", "odd32", "odd", "label"]
    actual = read_arrays(path, ["none", *names])
    assert list(actual) == names
    for name, array in actual.items():
        assert_same_bits(array, dataset()[name].values, name)
    for part in (slice(0, 1), slice(1, 3), slice(None), (slice(2, None), slice(0, 1))):
        for name, array in read_arrays(path, ["fingerprint", "regions"], part).items():
            assert_same_bits(array, dataset()[name].values[part], name)
    assert read_arrays(path, ["none"]) == {}


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(path):
    class Unwritable:
        """A value that NetCDF cannot store."""

    bad = dataset(1).assign(bad=(("layer",), np.array([Unwritable()] * 3, dtype=object)))
    for each in (path, path.with_name("new.nc")):
        with pytest.raises((TypeError, ValueError)):
            write_netcdf(bad, each)
    assert_same(read_netcdf(path), dataset())
    assert [file.name for file in path.parent.iterdir()] == ["one.nc"]
    write_bytes(path, "näme ✓\n".encode())
    assert path.read_text("utf-8") == "näme ✓\n"


READERS = {
    "labelled": read_netcdf,
    "plain": lambda path: read_arrays(path, ["fingerprint"]),
    "attribute": lambda path: read_attribute(path, "epoch"),
}


def test_every_reader_rejects_a_damaged_missing_or_foreign_file_by_name(path):
    whole = path.read_bytes()
    broken = {
        "empty": b"",
        "garbage": b"garbage " * 100,
        "zeros": bytes(len(whole)),
        "half": whole[: len(whole) // 2],
        "a byte short": whole[:-1],
        "only the beginning": whole[:8],
    }
    for reader, read in READERS.items():
        for how, data in broken.items():
            path.write_bytes(data)
            words = "cannot be read.*Received: a damaged or incomplete"
            assert_input_error((reader, how), f"{path} {words}", read, path)
        assert_input_error(reader, r"No file .*none\.nc", read, path.with_name("none.nc"))
        for version in (0, SCHEMA_VERSION + 1, 99, "1", None):
            path.write_bytes(whole)
            with h5py.File(path, "a") as file:
                del file.attrs["schema_version"]
                if version is not None:
                    file.attrs["schema_version"] = version
            words = (
                f"{path} has another format.*Expected 1 or {SCHEMA_VERSION}. Received: .?{version}"
            )
            assert_input_error((reader, version), words, read, path)
    dataset().to_netcdf(path.with_name("somebody.nc"), engine="h5netcdf")
    words = "somebody.nc has another format version.*Received: None"
    assert_input_error("somebody's", words, read_netcdf, path.with_name("somebody.nc"))
    path.write_bytes(whole)
    assert_input_error("no attribute", str(path), read_attribute, path, "none")


# --- the folder -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_constants(dataset())
    for epoch in (10, 0, 2):
        folder.write_record(epoch, dataset(epoch))
    return folder


def test_nothing_is_created_before_the_first_write(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.epochs() == folder.history() == []
    assert folder.config() == {} and folder.checkpoint() is None
    assert not folder.dynamics_are_current() and not folder.is_replay()
    assert list(tmp_path.iterdir()) == []


def test_epochs_are_sorted_by_number_and_other_files_are_ignored(folder):
    folder.write_record(1_000_000, dataset())
    folder.write_record(999_999, dataset())
    names = (".epoch-000005.nc.1.part", "epoch-000005.nc.part", "epoch-000005.nc~", "epoch-5.nc")
    names += ("epoch--00005.nc", "xepoch-000005.nc", "epoch-000005.txt", "epoch-00000a.nc")
    for name in (*names, "EPOCH-000005.nc", "notes.txt"):
        (folder.records / name).write_bytes(b"something else")
    assert folder.epochs() == [0, 2, 10, 999_999, 1_000_000]


def test_records_are_read_one_by_one_and_stacked(folder):
    assert_same(folder.record(2), dataset(2))
    assert_same(folder.constants(), dataset())
    assert (folder.recorded_hash(10), folder.recorded_images_hash(10)) == ("ab" * 32, "cd")
    assert folder.recorded_layers(10) == dataset()["layer"].values.tolist()
    assert (folder.record_file(2).name, folder.fingerprint_length(2)) == ("epoch-000002.nc", 50)
    actual = folder.series([10, 0], ["accuracy", "regions", "scalar", "none"])
    assert list(actual) == ["accuracy", "regions", "scalar"]
    for name, array in actual.items():
        assert_same_bits(array, np.stack([dataset(e)[name].values for e in (10, 0)]), name)
    prints = np.stack([dataset(e)["fingerprint"].values for e in (0, 2, 10)])
    for layers, pairs in ((slice(0, 3), slice(None)), (slice(1, 2), slice(7, 20))):
        actual = folder.fingerprints([0, 2, 10], layers, pairs)
        assert_same_bits(actual, prints[:, layers, pairs])
    folder.write_record(11, dataset(11).drop_vars("accuracy"))
    assert list(folder.series([0, 11], ["accuracy", "scalar"])) == ["scalar"]
    folder.write_record(12, dataset(12).isel(pair=slice(1, None)))
    words = r"epoch-000012.nc belongs to another recording.*shape \(3, 50\). Received: \(3, 49\)"
    assert_input_error("shorter", words, folder.fingerprints, [0, 12], slice(0, 3))


def test_a_damaged_record_is_named_and_the_others_remain_usable(folder):
    folder.record_file(2).write_bytes(b"half")
    for name, read in {
        "series": lambda epochs: folder.series(epochs, ["accuracy"]),
        "fingerprints": lambda epochs: folder.fingerprints(epochs, slice(0, 3)),
        "record": lambda epochs: [folder.record(epoch) for epoch in epochs],
    }.items():
        assert_input_error(name, r"epoch-000002\.nc is damaged", read, [0, 2, 10])
        read([0, 10])


def test_a_folder_without_records_is_rejected_by_name(folder, tmp_path):
    assert folder.require_records() is folder
    missing, empty = RunFolder(tmp_path / "none"), RunFolder(tmp_path / "empty")
    assert_input_error("none", r"No folder .*none", missing.require_records)
    empty.write_constants(dataset())
    assert_input_error("no epoch", "holds no records.*at least one", empty.require_records)
    folder.constants_file.unlink()
    assert_input_error("no constants", r"constants\.nc", folder.require_records)
    config = Config(model="vit", epochs=5, blocks=(1, 2))
    write_bytes(folder.config_file, to_toml(config, {"keras": "3"}).encode())
    assert Config(**folder.config()) == config


def touch(path, second):
    os.utime(path, ns=(second * 10**9, second * 10**9))


def test_dynamics_are_current_while_no_record_is_newer(folder):
    assert not folder.dynamics_are_current()
    write_netcdf(dataset(), folder.dynamics_file)
    records = list(folder.records.iterdir())
    for file in records:
        touch(file, 100)
    for second, is_current in ((99, False), (100, True), (101, True)):
        touch(folder.dynamics_file, second)
        assert folder.dynamics_are_current() == is_current, second
    for file in records:
        touch(file, 102)
        assert not folder.dynamics_are_current(), file
        touch(file, 100)
    folder.write_record(20, dataset())
    assert not folder.dynamics_are_current()


def test_a_table_grows_by_whole_rows_without_loss(tmp_path):
    folder = RunFolder(tmp_path)
    rows = [{"epoch": e, "loss": loss} for e, loss in enumerate((1 / 3, 1e-17, 0.1 + 0.2))]
    rows[1]["note"] = 'with "quotes", commas\nand lines'
    columns = ("epoch", "loss", "note")
    for row in rows:
        folder.table(folder.history_file, columns).append(row)  # like another process
        actual = folder.history()[-1]
        assert float(actual["loss"]) == row["loss"]
        assert actual["note"] == row.get("note", "")
    with folder.history_file.open(newline="") as file:
        assert [each["epoch"] for each in csv.DictReader(file)] == ["0", "1", "2"]
    table = folder.table(folder.timing_file, columns)
    assert table.holds([]) and not table.holds(rows)
    table.append(*rows)
    assert table.holds(rows) and not any(map(table.holds, ([], rows[:2], rows[1:])))
    table.replace(rows[:1])
    table.append(rows[2])
    assert table.holds([rows[0], rows[2]])
    assert folder.checksums.problem(folder.timing_file) == ""
    with pytest.raises(ValueError, match="other"):
        folder.table(tmp_path / "t.csv", ("epoch",)).append({"other": 1})
    assert not (tmp_path / "t.csv").exists()
