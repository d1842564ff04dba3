"""Models: classes by name, heads for tasks, and what builds and exports them."""
