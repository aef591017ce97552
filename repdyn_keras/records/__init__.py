"""The run folder and its files."""

from repdyn_keras.records.folder import RunFolder
from repdyn_keras.records.netcdf import read_netcdf, write_netcdf
from repdyn_keras.records.schema import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "RunFolder", "read_netcdf", "write_netcdf"]
