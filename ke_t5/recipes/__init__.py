"""What the two scripts do, from top to bottom."""
