"""python -m ddgm.pipeline.cli is the `ddgm` command."""

from ddgm.pipeline.cli import main

if __name__ == "__main__":
    main()
