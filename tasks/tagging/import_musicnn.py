"""`python -m tasks.tagging.import_weights` under its earlier name."""

from tasks.tagging.import_weights import main

if __name__ == "__main__":
    main()
