"""What tests share: toys, runs of recipes, stand-ins."""
