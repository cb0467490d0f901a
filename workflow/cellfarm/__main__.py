"""`python -m cellfarm`: the command line, also what the workflow's rules call."""

from .cli.main import main

if __name__ == "__main__":
    main()
