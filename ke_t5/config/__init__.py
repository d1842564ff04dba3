"""The run's settings: flags and gin files, and their checks."""
