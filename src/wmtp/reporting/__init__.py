"""The comparison of arms: read runs, pool and compare, write tables, plots and one HTML page."""

from wmtp.reporting.tables import terminal_table

__all__ = ["terminal_table"]
