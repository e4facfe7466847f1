"""The settings of the payment provider; all their faults are reported at once."""

from pathlib import Path

import pytest

from account_svc.adapters.payments.choose import choose_provider
from account_svc.config import AccountSettings
from deploy.local.layout import Layout
from deploy.local.secrets import credentials
from mesh.settings_loading import load

SECRETS = {
    "PAYMENT_SECRET_KEY": "a key of sixteen or more",
    "PAYMENT_WEBHOOK_SECRET": "a secret of sixteen or more",
}
SANDBOX = SECRETS | {"PAYMENT_PROVIDER": "sandbox", "PAYMENT_URL": "http://127.0.0.1:1"}
STRIPE = SECRETS | {"PAYMENT_PROVIDER": "stripe", "PAYMENT_SECRET_KEY": "sk_live_0123456789"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The settings of the service without those of payments."""
    layout = Layout(tmp_path / "mesh")
    layout.make_folders()
    credentials.load_or_make(layout)
    for name, value in {
        "MESH_INSTANCE_ID": "account_svc-1",
        "MESH_LISTEN": "127.0.0.1:0",
        "MESH_REGISTRIES": "127.0.0.1:1",
        "MESH_SERVICE_KEY_FILE": str(layout.service_key("account_svc")),
        "MESH_SERVICE_KEYS_DIR": str(layout.public_keys),
        "ACCOUNT_SIGNING_KEYS_DIR": str(tmp_path / "signing_keys"),
        "DATABASE_URL": "postgresql://mesh@127.0.0.1/account",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def read(environment: pytest.MonkeyPatch, settings: dict[str, str]) -> AccountSettings:
    for name, value in settings.items():
        environment.setenv(name, value)
    return load(AccountSettings)


@pytest.mark.parametrize(("seconds", "days"), [("86401", 2), ("172800", 2), ("2592000", 30)])
def test_a_comparison_covers_the_time_since_the_one_before(
    environment: pytest.MonkeyPatch, seconds: str, days: int
) -> None:
    settings = SANDBOX | {"ACCOUNT_RECONCILIATION_SECONDS": seconds}
    read(environment, settings | {"ACCOUNT_RECONCILIATION_DAYS": str(days)})
    with pytest.raises(SystemExit, match=rf"ACCOUNT_RECONCILIATION_DAYS.* {days} or more"):
        read(environment, settings | {"ACCOUNT_RECONCILIATION_DAYS": str(days - 1)})


def test_a_connection_stays_free_when_others_wait_for_wallets(
    environment: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit, match="DATABASE_CONNECTIONS"):
        read(environment, SANDBOX | {"DATABASE_CONNECTIONS": "1"})


def test_the_days_that_nobody_set_cover_the_time_too(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="ACCOUNT_RECONCILIATION_DAYS"):
        read(environment, SANDBOX | {"ACCOUNT_RECONCILIATION_SECONDS": str(8 * 86_400)})


@pytest.mark.parametrize(("settings", "name"), [(SANDBOX, "sandbox"), (STRIPE, "stripe")])
async def test_the_provider_is_the_one_that_the_settings_name(
    environment: pytest.MonkeyPatch, settings: dict[str, str], name: str
) -> None:
    provider = choose_provider(read(environment, settings))
    assert provider.name == name
    await provider.close()


def test_secrets_may_stand_in_files(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("the key in its file\n")
    settings = SANDBOX | {"PAYMENT_SECRET_KEY_FILE": str(tmp_path / "key")}
    del settings["PAYMENT_SECRET_KEY"]
    read_settings = read(environment, settings)
    assert read_settings.payment_secret_key.get_secret_value() == "the key in its file"


def test_no_secret_is_shown_with_the_settings(environment: pytest.MonkeyPatch) -> None:
    shown = repr(read(environment, SANDBOX))
    assert not [secret for secret in SECRETS.values() if secret in shown]


WRONG: dict[str, tuple[dict[str, str], set[str]]] = {
    "nothing is set": (
        {},
        {"PAYMENT_PROVIDER", "PAYMENT_SECRET_KEY", "PAYMENT_WEBHOOK_SECRET"},
    ),
    "only the provider is": (
        {"PAYMENT_PROVIDER": "sandbox"},
        {"PAYMENT_URL", "PAYMENT_SECRET_KEY", "PAYMENT_WEBHOOK_SECRET"},
    ),
    "a provider that nobody knows": (
        SANDBOX | {"PAYMENT_PROVIDER": "piggy bank"},
        {"PAYMENT_PROVIDER"},
    ),
    "a sandbox that is nowhere": (SANDBOX | {"PAYMENT_URL": "127.0.0.1:1"}, {"PAYMENT_URL"}),
    "a publishable key": (
        STRIPE | {"PAYMENT_SECRET_KEY": "pk_live_0123456789"},
        {"PAYMENT_SECRET_KEY"},
    ),
    "a guessable secret": (
        SANDBOX | {"PAYMENT_WEBHOOK_SECRET": "secret"},
        {"PAYMENT_WEBHOOK_SECRET"},
    ),
    "a secret said twice": (
        SANDBOX | {"PAYMENT_SECRET_KEY_FILE": "key"},
        {"PAYMENT_SECRET_KEY"},
    ),
    "a file that is not there, and one more fault": (
        {
            "PAYMENT_PROVIDER": "sandbox",
            "PAYMENT_SECRET_KEY_FILE": "nowhere",
            "PAYMENT_WEBHOOK_SECRET": SECRETS["PAYMENT_WEBHOOK_SECRET"],
        },
        {"PAYMENT_URL", "PAYMENT_SECRET_KEY"},
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_all_named_and_no_secret_is(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    settings, faulty = WRONG[name]
    with pytest.raises(SystemExit) as ended:
        read(environment, settings)
    said = str(ended.value)
    named = {line.strip().partition(":")[0] for line in said.splitlines()[1:]}
    assert named == faulty
    for variable in SECRETS:
        assert settings.get(variable, "not set") not in said


@pytest.mark.parametrize(
    ("written", "packages"),
    [("160", (160,)), ("1600, 160,160", (160, 1600)), ("1000000000", (1_000_000_000,))],
)
def test_the_packages_of_the_shop_are_amounts_in_order(
    environment: pytest.MonkeyPatch, written: str, packages: tuple[int, ...]
) -> None:
    assert read(environment, SANDBOX | {"ACCOUNT_GEM_PACKAGES": written}).gem_packages == packages


@pytest.mark.parametrize("written", ["", "0", "-5", "x", "160,", "1000000001", "1.5"])
def test_packages_that_nobody_can_buy_end_the_start(
    environment: pytest.MonkeyPatch, written: str
) -> None:
    with pytest.raises(SystemExit, match="ACCOUNT_GEM_PACKAGES"):
        read(environment, SANDBOX | {"ACCOUNT_GEM_PACKAGES": written})
