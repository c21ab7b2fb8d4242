"""``python -m ensemble`` is the command ``ens``."""

from ensemble.cli import main

if __name__ == "__main__":
    main()
