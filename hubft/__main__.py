"""`python -m hubft`."""

from hubft.cli.main import main

main()
