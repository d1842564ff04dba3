"""The run's settings: flags, gin files, and what they are checked against."""
