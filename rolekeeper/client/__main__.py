"""`python -m rolekeeper.client` is the command `rolekeeper`."""

from rolekeeper.client.cli import main

if __name__ == "__main__":
    main()
