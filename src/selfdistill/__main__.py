"""``python -m selfdistill``, the way that ``torchrun -m selfdistill`` starts it."""

from selfdistill.cli import main

if __name__ == "__main__":
    main()
