"""Starts gachactl, or says which package is missing and how to get it."""

import sys


def main() -> None:
    """The entry point of the package."""
    try:
        from deploy.gachactl.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("deploy", "mesh", "protos"):
            raise
        sys.exit(
            f"The environment is not complete: {error.name} is missing. Install what gachactl "
            "needs with `make up`, or on a server of your own with `pip install '.[operate]'`."
        )
    run()


if __name__ == "__main__":
    main()
