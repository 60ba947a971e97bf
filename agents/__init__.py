"""Agents: one family a file."""
