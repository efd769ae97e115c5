"""Dagster's resources and IO managers: how assets reach tables, bundles, tracking and run workers."""
