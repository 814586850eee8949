"""The stories, as Prefect flows."""
