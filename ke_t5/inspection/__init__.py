"""What one looks at before training: rows, labels, lengths, losses, duplicates."""
