"""Measurements: each file is one command, and prints what it measured."""
