"""The callers that a rule admits, and the rules with which a server refuses to start."""

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from mesh.contract.access import (
    ADMIN,
    OF_PLAYERS,
    OPEN,
    Access,
    BadRule,
    Rule,
    of_services,
    rule_of,
)
from mesh.contract.methods import Method, methods_of
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.serving.dispatch import Dispatcher
from protos.gacha.v1 import catalog_pb2
from protos.mesh.v1 import options_pb2
from protos.tx.v1 import coordinator_pb2

CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
INIT_DB = "gacha.v1.CatalogService.InitDb"


class Anything:
    """Has every method."""

    def __getattr__(self, name: str) -> object:
        return lambda request, call: None


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        (Rule(Access.SERVICE), set()),
        (of_services(["gacha_svc"]), {"gacha_svc"}),
        (of_services(["gacha_svc", "admin"]), {"gacha_svc", "admin"}),
        (of_services(["*"]), {"gacha_svc", "account_svc"}),
        (of_services(["*", "admin"]), {"gacha_svc", "account_svc", "admin"}),
        (OF_PLAYERS, set()),
        (Rule(Access.NOBODY), set()),
        (Rule(Access.NOBODY, frozenset(["gacha_svc"])), set()),
    ],
)
def test_a_rule_admits_those_alone_that_it_names(rule: Rule, admitted: set[str]) -> None:
    assert {name for name in ("gacha_svc", "account_svc", ADMIN) if rule.admits(name)} == admitted


def test_a_method_without_options_is_closed_and_no_server_starts_with_it() -> None:
    rule = rule_of(MethodOptions())
    assert rule == Rule(Access.NOBODY)
    with pytest.raises(BadRule, match=r"/x\.v1\.X/Get declares no \(mesh\.v1\.access\)"):
        rule.check("/x.v1.X/Get")
    authenticator = Authenticator(
        "account_svc", player_keys=fixed_keys(), service_keys=fixed_service_keys({})
    )
    method = Method("/x.v1.X/Get", rule, False, bytes, lambda request, call: None, bytes)
    with pytest.raises(BadRule):
        Dispatcher([method], authenticator)


@pytest.mark.parametrize("access", [options_pb2.ACCESS_PUBLIC, options_pb2.ACCESS_PLAYER])
@pytest.mark.parametrize("says", ["callers", "may_be_opened"])
def test_callers_go_with_services_alone(access: options_pb2.Access.ValueType, says: str) -> None:
    options = MethodOptions()
    options.Extensions[options_pb2.access] = access
    if says == "callers":
        options.Extensions[options_pb2.callers].append("gacha_svc")
    else:
        options.Extensions[options_pb2.may_be_opened] = True
    with pytest.raises(BadRule, match="need ACCESS_SERVICE"):
        rule_of(options).check("X")


def test_a_method_is_open_where_its_server_opens_it_and_no_other_is() -> None:
    closed = {method.path: method.rule for method in methods_of(CATALOG, Anything())}
    opened = {method.path: method.rule for method in methods_of(CATALOG, Anything(), [INIT_DB])}
    changed = {path for path in closed if closed[path] != opened[path]}
    assert changed == {"/gacha.v1.CatalogService/InitDb"}
    assert opened["/gacha.v1.CatalogService/InitDb"] == OPEN


def test_a_method_that_may_not_be_opened_stays_closed() -> None:
    service = coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"]
    with pytest.raises(BadRule, match="may_be_opened"):
        list(methods_of(service, Anything(), ["tx.v1.CoordinatorService.Resolve"]))
