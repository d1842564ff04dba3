"""A trained model in use: what it answers for rows that nobody has labelled."""
