"""The run folder: what is written comes back as it was, and what is broken says so."""

import csv
import os
import re

import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr

from repdyn_keras.config import Config, to_toml
from repdyn_keras.errors import InputError, StorageError
from repdyn_keras.records import SCHEMA_VERSION, RunFolder, read_netcdf, write_netcdf
from repdyn_keras.records import atomic as atomic_module
from repdyn_keras.records.atomic import whole_file, write_text
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
            "accuracy": (("layer",), np.array([0.1 + 0.2, np.nan, 1.0])),
            "odd": (("number",), np.array(ODD_FLOATS)),
            "odd32": (("number",), np.array(ODD_FLOATS).astype(np.float32)),
            "regions": (("layer", "plane", "row", "column"), regions),
            "wide": (("layer",), np.array([0, 256, 65535], np.uint16)),
            "label": (("image",), np.array([0, -1, 2**40])),
            "scalar": ((), 0.125),
            "dead": (("layer",), np.array([0, 1, 0], np.uint8)),
        },
        coords={"layer": ["stem", "stage1_block1", "output"]},
        attrs={"epoch": 7, "weights_hash": "ab" * 32, "margin": 0.1, "name": "näme"},
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "one.nc"
    write_netcdf(dataset(), path)
    return path


def same_bits(one, other):
    one, other = np.asarray(one), np.asarray(other)
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


# --- round trip -------------------------------------------------------------------------------


def test_arrays_come_back_bit_for_bit_in_their_own_dtype(path):
    found, wanted = read_netcdf(path), dataset()
    assert set(found.variables) == set(wanted.variables)
    for name in wanted.data_vars:
        assert found[name].dims == wanted[name].dims
        assert same_bits(found[name].values, wanted[name].values), name
    assert found["layer"].values.tolist() == wanted["layer"].values.tolist()


def test_bytes_stay_bytes_with_no_fill_value(path):
    found = read_netcdf(path)["regions"]
    assert found.dtype == np.uint8
    assert found.values.max() == 255
    with h5netcdf.File(path, "r") as file:
        assert all("_FillValue" not in variable.attrs for variable in file.variables.values())


def test_attributes_come_back_and_the_version_is_written(path):
    found = read_netcdf(path).attrs
    assert found["schema_version"] == SCHEMA_VERSION
    for name, value in dataset().attrs.items():
        assert found[name] == value
    assert read_attribute(path, "weights_hash") == "ab" * 32
    assert read_attribute(path, "epoch") == 7


def test_writing_does_not_change_the_dataset_in_memory(tmp_path):
    data = dataset()
    write_netcdf(data, tmp_path / "one.nc")
    assert data.identical(dataset())


def test_what_was_read_is_in_memory(path):
    found = read_netcdf(path)
    path.unlink()
    assert same_bits(found["fingerprint"].values, dataset()["fingerprint"].values)


def test_a_file_that_was_read_can_be_replaced_at_once(path):
    found = read_netcdf(path)
    write_netcdf(dataset(1), path)
    assert same_bits(found["fingerprint"].values, dataset()["fingerprint"].values)
    assert same_bits(read_netcdf(path)["fingerprint"].values, dataset(1)["fingerprint"].values)


@pytest.mark.parametrize("names", [["regions"], ["accuracy", "scalar"], ["odd32", "odd", "label"]])
def test_plain_arrays_are_those_of_the_labelled_read(path, names):
    found = read_arrays(path, names)
    assert list(found) == names
    for name in names:
        assert same_bits(found[name], dataset()[name].values)


@pytest.mark.parametrize("part", [slice(0, 1), slice(1, 3), slice(None), slice(2, None)])
def test_a_part_is_cut_from_the_first_dimension(path, part):
    found = read_arrays(path, ["fingerprint", "regions", "dead"], part)
    for name, array in found.items():
        assert same_bits(array, dataset()[name].values[part])


def test_variables_that_a_file_lacks_are_left_out(path):
    assert list(read_arrays(path, ["none", "scalar"])) == ["scalar"]
    assert read_arrays(path, ["none"]) == {}


# --- whole or not at all ----------------------------------------------------------------------


class Unwritable:
    """No NetCDF file can hold it."""


def unwritable():
    return dataset(1).assign(bad=(("layer",), np.array([Unwritable()] * 3, dtype=object)))


def fail(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("old", [False, True])
def test_a_dataset_that_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path, old):
    path = tmp_path / "one.nc"
    if old:
        write_netcdf(dataset(), path)
    before = path.read_bytes() if old else None
    with pytest.raises((TypeError, ValueError)):
        write_netcdf(unwritable(), path)
    assert [file.name for file in tmp_path.iterdir()] == (["one.nc"] if old else [])
    if old:
        assert path.read_bytes() == before


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_leaves_the_old_file_and_no_other(path, monkeypatch, step):
    before = path.read_bytes()
    monkeypatch.setattr(atomic_module.os, step, fail)
    with pytest.raises(StorageError) as caught:
        write_netcdf(dataset(1), path)
    monkeypatch.undo()
    assert str(caught.value).startswith(f"Cannot write {path}: the disk is full. ")
    assert re.search(r"[\d,.]+ MB free", str(caught.value))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["one.nc"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(error):
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["text"]


def test_until_the_end_of_the_block_the_old_file_stands(tmp_path):
    path = tmp_path / "text"
    write_text(path, "old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
    assert path.read_text() == "new"


def test_file_and_folder_are_synced_the_file_before_the_rename(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(handle):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def spy_replace(*paths):
        events.append("rename")
        replace(*paths)

    monkeypatch.setattr(atomic_module.os, "fsync", spy_fsync)
    monkeypatch.setattr(atomic_module.os, "replace", spy_replace)
    write_text(tmp_path / "text", "new")
    assert events == ["file", "rename", "folder"]


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "text", "näme ✓\n")
    assert (tmp_path / "text").read_bytes() == "näme ✓\n".encode()


# --- broken files -----------------------------------------------------------------------------

READERS = {
    "labelled": read_netcdf,
    "plain": lambda path: read_arrays(path, ["fingerprint"]),
    "attribute": lambda path: read_attribute(path, "epoch"),
}
BROKEN = {
    "empty": lambda whole: b"",
    "garbage": lambda whole: b"garbage " * 100,
    "zeros": lambda whole: bytes(len(whole)),
    "half": lambda whole: whole[: len(whole) // 2],
    "a byte short": lambda whole: whole[:-1],
    "only the beginning": lambda whole: whole[:8],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_refused_by_name(path, reader, how):
    path.write_bytes(BROKEN[how](path.read_bytes()))
    with pytest.raises(InputError) as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)
    assert "damaged or only half written" in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_file_is_refused_by_name(tmp_path, reader):
    with pytest.raises(InputError, match=r"No file .*none\.nc"):
        READERS[reader](tmp_path / "none.nc")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, 99, "1", None])
def test_a_foreign_format_version_is_refused(path, reader, version):
    with h5py.File(path, "a") as file:
        del file.attrs["schema_version"]
        if version is not None:
            file.attrs["schema_version"] = version
    with pytest.raises(InputError, match="format version") as caught:
        READERS[reader](path)
    assert str(path) in str(caught.value)
    assert f"Expected {SCHEMA_VERSION}" in str(caught.value)


def test_a_netcdf_file_of_somebody_else_is_refused(tmp_path):
    dataset().to_netcdf(tmp_path / "one.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="format version None"):
        read_netcdf(tmp_path / "one.nc")


def test_a_missing_attribute_is_refused_by_name(path):
    with pytest.raises(InputError, match="one.nc"):
        read_attribute(path, "none")


# --- the folder -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_constants(dataset())
    for epoch in (10, 0, 2):
        folder.write_record(epoch, dataset(epoch))
    return folder


def test_nothing_is_created_before_it_is_asked_for(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.epochs() == []
    assert folder.config() == {}
    assert folder.history() == []
    assert not folder.dynamics_are_current()
    assert list(tmp_path.iterdir()) == []


def test_epochs_are_sorted_by_number(folder):
    folder.write_record(1_000_000, dataset())
    folder.write_record(999_999, dataset())
    assert folder.epochs() == [0, 2, 10, 999_999, 1_000_000]


@pytest.mark.parametrize(
    "name",
    [
        ".epoch-000005.nc.123.part",
        "epoch-000005.nc.part",
        "epoch-000005.nc~",
        "epoch-5.nc",
        "epoch--00005.nc",
        "xepoch-000005.nc",
        "epoch-000005.txt",
        "epoch-00000a.nc",
        "EPOCH-000005.nc",
        "notes.txt",
    ],
)
def test_other_files_are_no_epochs(folder, name):
    (folder.records / name).write_bytes(b"something else")
    assert folder.epochs() == [0, 2, 10]


def test_records_and_constants_come_back(folder):
    assert folder.record(2).drop_attrs().identical(dataset(2).drop_attrs())
    assert folder.constants().drop_attrs().identical(dataset().drop_attrs())
    assert folder.recorded_hash(10) == "ab" * 32
    assert folder.record_file(2).name == "epoch-000002.nc"


def test_series_stack_variables_along_epochs_in_the_order_asked_for(folder):
    found = folder.series([10, 0], ["accuracy", "regions", "scalar", "none"])
    assert list(found) == ["accuracy", "regions", "scalar"]
    for name, array in found.items():
        wanted = np.stack([dataset(10)[name].values, dataset(0)[name].values])
        assert same_bits(array, wanted)


def test_a_variable_that_one_record_lacks_is_left_out_of_the_series(folder):
    folder.write_record(11, dataset(11).drop_vars("accuracy"))
    assert list(folder.series([0, 11], ["accuracy", "scalar"])) == ["scalar"]


@pytest.mark.parametrize("layers", [slice(0, 3), slice(1, 2)])
def test_fingerprints_are_those_of_the_records(folder, layers):
    found = folder.fingerprints([0, 2, 10], layers)
    wanted = np.stack([dataset(e)["fingerprint"].values[layers] for e in (0, 2, 10)])
    assert same_bits(found, wanted)


@pytest.mark.parametrize("asked", ["series", "fingerprints", "record"])
def test_one_broken_record_is_named_and_the_others_stay_usable(folder, asked):
    folder.record_file(2).write_bytes(b"half")
    calls = {
        "series": lambda epochs: folder.series(epochs, ["accuracy"]),
        "fingerprints": lambda epochs: folder.fingerprints(epochs, slice(0, 3)),
        "record": lambda epochs: [folder.record(epoch) for epoch in epochs],
    }
    with pytest.raises(InputError, match=r"epoch-000002\.nc"):
        calls[asked]([0, 2, 10])
    calls[asked]([0, 10])


def test_a_record_that_fails_to_be_written_keeps_the_old_one(folder):
    with pytest.raises((TypeError, ValueError)):
        folder.write_record(2, unwritable())
    assert same_bits(folder.record(2)["fingerprint"].values, dataset(2)["fingerprint"].values)
    assert folder.epochs() == [0, 2, 10]
    assert len(list(folder.records.iterdir())) == 4


def test_a_folder_with_records_is_accepted_and_others_are_refused_by_name(folder, tmp_path):
    assert folder.require_records() is folder
    with pytest.raises(InputError, match=r"No folder .*none"):
        RunFolder(tmp_path / "none").require_records()
    with pytest.raises(InputError, match="holds no records"):
        RunFolder(tmp_path).require_records()
    folder.constants_file.unlink()
    with pytest.raises(InputError, match=r"constants\.nc"):
        folder.require_records()


def test_constants_without_an_epoch_are_no_records(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_constants(dataset())
    with pytest.raises(InputError, match="at least one"):
        folder.require_records()


def test_the_configuration_is_that_of_run_toml(folder):
    config = Config(model="vit", epochs=5, blocks=(1, 2))
    write_text(folder.config_file, to_toml(config, {"keras": "3"}))
    assert Config(**folder.config()) == config


def touch(path, second):
    os.utime(path, ns=(second * 10**9, second * 10**9))


def test_dynamics_are_current_while_no_record_is_newer(folder):
    for file in folder.records.iterdir():
        touch(file, 100)
    assert not folder.dynamics_are_current()
    write_netcdf(dataset(), folder.dynamics_file)
    for second, current in ((99, False), (100, True), (101, True)):
        touch(folder.dynamics_file, second)
        assert folder.dynamics_are_current() == current


@pytest.mark.parametrize("name", ["constants.nc", "epoch-000000.nc", "epoch-000010.nc"])
def test_any_newer_record_outdates_the_dynamics(folder, name):
    write_netcdf(dataset(), folder.dynamics_file)
    for file in folder.records.iterdir():
        touch(file, 100)
    touch(folder.dynamics_file, 100)
    touch(folder.records / name, 101)
    assert not folder.dynamics_are_current()


def test_a_new_epoch_outdates_the_dynamics(folder):
    write_netcdf(dataset(), folder.dynamics_file)
    touch(folder.dynamics_file, 10**9)
    folder.write_record(20, dataset())
    assert not folder.dynamics_are_current()


# --- tables -----------------------------------------------------------------------------------


def test_rows_are_appended_under_one_header(tmp_path):
    folder = RunFolder(tmp_path)
    for epoch in range(3):
        table = folder.table(folder.history_file, ("epoch", "loss", "note"))
        table.append({"epoch": epoch, "loss": 0.1 * epoch})
    with folder.history_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"epoch": str(e), "loss": str(0.1 * e), "note": ""} for e in range(3)]


def test_every_row_is_on_the_disk_at_once_and_floats_lose_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    table = folder.table(folder.history_file, ("epoch", "loss", "note"))
    for value in (1 / 3, 1e-17, 0.1 + 0.2):
        table.append({"epoch": 1, "loss": value, "note": 'with "quotes", commas\nand lines'})
        row = folder.history()[-1]
        assert float(row["loss"]) == value
        assert row["note"] == 'with "quotes", commas\nand lines'


def test_a_column_that_the_table_lacks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="other"):
        RunFolder(tmp_path).table(tmp_path / "t.csv", ("epoch",)).append({"other": 1})
    assert list(tmp_path.iterdir()) == []
