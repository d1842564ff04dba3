"""`python -m ke_t5 train ...` is `ke-t5 train ...`, for a clone that is not installed."""

from ke_t5.cli import main

if __name__ == "__main__":
    main()
