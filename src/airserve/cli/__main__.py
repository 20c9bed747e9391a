"""`python -m airserve.cli` is the `airserve` command."""

from airserve.cli.app import main

if __name__ == "__main__":
    main()
