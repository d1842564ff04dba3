"""The programs of the two scripts, from top to bottom."""
