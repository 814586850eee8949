"""Thin Prefect tasks: one port call each, one module for each outside system."""
