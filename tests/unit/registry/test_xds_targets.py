"""The targets that can be dialled by xDS, from the protos."""

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from protos import DESCRIPTORS
from registry.rpc.xds.targets import Target, load_targets

TARGETS = {target.service: target for target in load_targets(DESCRIPTORS.read_bytes())}


def test_every_service_of_the_mesh_has_its_name_and_a_short_one() -> None:
    assert {service: target.names for service, target in TARGETS.items()} == {
        "account_svc": ("account", "account_svc"),
        "gacha_svc": ("gacha", "gacha_svc"),
        "registry": ("registry",),
    }


def test_reads_may_be_repeated() -> None:
    assert "/gacha.v1.CatalogService/ListItems" in TARGETS["gacha_svc"].repeatable
    assert "/account.v1.AccountService/GetCurrency" in TARGETS["account_svc"].repeatable
    assert "/registry.v1.RegistryService/List" in TARGETS["registry"].repeatable


def test_methods_with_an_optional_key_may_not_be_repeated() -> None:
    repeatable = {path for target in TARGETS.values() for path in target.repeatable}
    assert repeatable.isdisjoint(
        {
            "/gacha.v1.GachaService/Pull",
            "/gacha.v1.GiftService/SendGift",
            "/account.v1.AccountService/BuyCurrency",
        }
    )


def test_methods_that_are_not_idempotent_may_not_be_repeated() -> None:
    files = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    for file in files.file:
        for service in file.service:
            for method in service.method:
                method.options.ClearField("idempotency_level")
    assert load_targets(files.SerializeToString()) == tuple(
        Target(target.service, target.names, ()) for target in TARGETS.values()
    )
