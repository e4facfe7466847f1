"""The search for secrets in logs finds them, and never prints them."""

from pathlib import Path

import pytest

from proof.leaks import find_leaks

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzb21lYm9keSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"

REFRESH_TOKEN = "gmr_AAECAwQFBgcICQoLDA0ODwAAAAAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (f'{{"event": "x", "authorization": "Bearer {TOKEN}"}}', "a signed token"),
        (f"refresh {REFRESH_TOKEN!r}", "a refresh token"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        ("hash=$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", "a password's hash"),
        ("password 'correct horse battery'", "a password"),
        ("DETAIL:  Key (email_key)=(iris@example.com) already exists.", "an email"),
    ],
)
def test_a_secret_is_found_by_its_line_and_not_repeated(
    tmp_path: Path, line: str, kind: str
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "account_svc-1.log").write_text(f"harmless\n{line}\n")
    assert find_leaks(tmp_path) == [f"{tmp_path}/inner/account_svc-1.log:2: {kind}"]


def test_ordinary_log_lines_are_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(
        '{"event": "serve", "port": 7000, "request_id": "0f3a", "instance": "account_svc-1"}\n'
        'ERROR:  duplicate key value violates unique constraint "player_email_unique"\n'
        "listening on 127.0.0.1:5432\n"
        'curl http://127.0.0.1:8080/register -d \'{"email": "mira@example.com"}\'\n'
    )
    assert find_leaks(tmp_path) == []
