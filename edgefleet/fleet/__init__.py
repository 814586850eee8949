"""Decisions about a fleet, all pure: who comes when, and what the evidence says."""
