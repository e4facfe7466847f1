"""Converts between protos and domain types: one module for each proto service."""
