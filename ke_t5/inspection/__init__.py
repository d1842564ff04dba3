"""Inspection of data before training: rows, labels, lengths, losses, duplicates."""
