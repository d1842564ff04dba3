"""The Korean benchmarks: labels, text forms, spans, official metrics, and the table of tasks."""
