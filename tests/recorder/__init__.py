"""Brings real servers into each condition and writes what an agent reads there into tests/recorded (`make record`)."""
