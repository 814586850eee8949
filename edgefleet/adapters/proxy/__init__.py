"""The door of Prefect's API for the workers of factories: each reaches its own pool only."""
