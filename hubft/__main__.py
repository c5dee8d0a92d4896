"""`python -m hubft`."""

from hubft.cli import main

main()
