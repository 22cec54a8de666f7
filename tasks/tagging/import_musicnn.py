"""Earlier name of `python -m tasks.tagging.import_weights`."""

from tasks.tagging.import_weights import main

if __name__ == "__main__":
    main()
