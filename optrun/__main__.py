"""`python -m optrun` is `optrun`."""

from optrun.cli import main

main()
