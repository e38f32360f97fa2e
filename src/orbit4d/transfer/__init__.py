"""Orster: spatial and temporal teachers, and the transfer of their feature distributions into the student's two streams."""
