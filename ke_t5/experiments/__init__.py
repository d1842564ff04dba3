"""Several runs together: compared on the same rows, repeated with other seeds, swept."""
