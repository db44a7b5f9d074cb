"""Thin Prefect tasks, each around one library call."""
