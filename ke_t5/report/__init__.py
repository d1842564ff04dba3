"""Reports of an evaluation: tables, intervals, error analysis, pages, model cards."""
