"""The run folder and its files."""

from repdyn_keras.records.netcdf import SCHEMA_VERSION, read_netcdf, write_netcdf
from repdyn_keras.records.run_folder import RunFolder

__all__ = ["SCHEMA_VERSION", "RunFolder", "read_netcdf", "write_netcdf"]
