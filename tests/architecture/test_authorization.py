"""Every method declares its allowed callers, and docs/authorization.md lists the same."""

from mesh.contract.access import rule_of
from tests import authorization


def test_the_document_lists_every_method_with_its_rule() -> None:
    written, declared = authorization.documented(), authorization.declared()
    assert len(written) == len({line.path for line in written}), "a method is listed twice"
    missing = [str(line) for line in declared if line not in written]
    stale = [str(line) for line in written if line not in declared]
    assert not missing + stale, "\n".join(
        ["docs/authorization.md lacks, if the protos are right:", *missing, "and has:", *stale]
    )


def test_every_method_declares_a_rule_that_a_server_may_have() -> None:
    for path, method in authorization.methods():
        rule_of(method.GetOptions()).check(path)
