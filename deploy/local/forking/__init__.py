"""Forks the mesh's Python programs from one process that has imported what they import"""
