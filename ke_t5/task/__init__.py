"""The Korean benchmarks: labels, text formats, spans, official metrics and the table of tasks."""
