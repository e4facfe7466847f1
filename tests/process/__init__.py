"""Tests that start one of our programs as a process; no whole mesh."""
