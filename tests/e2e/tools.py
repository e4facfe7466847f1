"""Optional programs that some tests need."""

import os
import shutil

import pytest

from deploy.local.layout import REPOSITORY

GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@latest"
GHZ = "github.com/bojand/ghz/cmd/ghz@latest"
STRIPE_MOCK = "github.com/stripe/stripe-mock@latest"
_OWN_TOOLS = REPOSITORY / ".tools" / "bin"


def grpcurl() -> str:
    """The path of grpcurl; without it the calling test is skipped."""
    return _go_tool("grpcurl", GRPCURL)


def ghz() -> str:
    """The path of ghz; without it the calling test is skipped."""
    return _go_tool("ghz", GHZ)


def stripe_mock() -> str:
    """The path of stripe-mock; without it the calling test is skipped."""
    return _go_tool("stripe-mock", STRIPE_MOCK)


def _go_tool(name: str, module: str) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(_OWN_TOOLS)])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(
            f"left out: the cases with the real {name}, which is not installed. To have them: "
            f"GOBIN=$PWD/.tools/bin go install {module}"
        )
    return found
