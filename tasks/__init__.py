"""Prefect tasks: one cached task per DVC stage."""
