"""Raw releases of Korean benchmarks, read into rows of one form per task."""
