"""A visitor of /docs sends the examples as they stand, in a real browser."""

import json
from pathlib import Path
from typing import Any

from proof.clients.rest_client import RestClient
from proof.stack import Mesh
from tests import browser
from tests.browser import Tab

SHOWN_ANSWER = ".live-responses-table"
STEPS = {
    "register": "#operations-Account-Register",
    "login": "#operations-Account-Login",
    "buy": "#operations-Account-BuyCurrency",
    "pull": "#operations-Gacha-PullByPost",
    "refresh": "#operations-Session-Refresh",
}


async def execute(tab: Tab, step: str) -> tuple[int, dict[str, Any]]:
    """Opens the operation if it is closed, executes it, and returns what the page shows."""
    block = STEPS[step]
    await tab.until(f"!!document.querySelector('{block}')")
    if not await tab.evaluate(f"!!document.querySelector('{block} .execute')"):
        await tab.evaluate(f"document.querySelector('{block} .opblock-summary-control').click()")
    await tab.until(f"!!document.querySelector('{block} .execute')")
    if await tab.evaluate(f"!!document.querySelector('{block} .btn-clear')"):
        await tab.evaluate(f"document.querySelector('{block} .btn-clear').click()")
        await tab.until(f"!document.querySelector('{block} {SHOWN_ANSWER}')")
    await tab.evaluate(f"document.querySelector('{block} .execute').click()")
    answer = f"document.querySelector('{block} {SHOWN_ANSWER} tbody .response-col_description pre')"
    text = await tab.until(f"{answer}?.innerText")
    status = (
        f"document.querySelector('{block} {SHOWN_ANSWER} tbody .response-col_status').innerText"
    )
    return int((await tab.evaluate(status)).split()[0]), json.loads(text)


async def authorize(tab: Tab, token: str) -> None:
    """Enters a player's token where the page asks for it."""
    await tab.evaluate("document.querySelector('.auth-wrapper .authorize').click()")
    part = (
        "[...document.querySelectorAll('.auth-container')]"
        ".find(each => each.innerText.includes('player'))"
    )
    await tab.until(f"!!{part}")
    await tab.evaluate(f"{part}.querySelector('input').focus()")
    await tab.write(token)
    await tab.evaluate(f"{part}.querySelector('.auth-btn-wrapper .authorize').click()")
    await tab.until("document.querySelector('.dialog-ux').innerText.includes('Authorized')")
    await tab.evaluate("document.querySelector('.btn-done').click()")


async def test_the_examples_work_as_they_stand(
    mesh: Mesh, rest: RestClient, tmp_path: Path
) -> None:
    async with browser.opened(f"{mesh.gateway}/docs", tmp_path) as tab:
        status, registered = await execute(tab, "register")
        assert (status, registered["message"]) == (200, "User registered successfully")
        status, logged_in = await execute(tab, "login")
        assert status == 200, logged_in
        await authorize(tab, logged_in["token"])
        for balance in (1600, 3200):
            status, bought = await execute(tab, "buy")
            assert (status, bought.get("newBalance")) == (200, balance), bought
        status, pulled = await execute(tab, "pull")
        assert (status, len(pulled["pulled_items"])) == (200, 1)
        status, refreshed = await execute(tab, "refresh")
        assert status == 200, refreshed
    wallet = rest.currency(refreshed["token"]).body
    assert wallet == {"userId": registered["userId"], "currencyBalance": 3200 - 160, "debtGems": 0}


async def test_the_next_visitor_registers_another_player(mesh: Mesh, tmp_path: Path) -> None:
    user_ids = set()
    for visit in ("first", "second"):
        async with browser.opened(f"{mesh.gateway}/docs", tmp_path / visit) as tab:
            status, registered = await execute(tab, "register")
            assert status == 200, registered
            user_ids.add(registered["userId"])
    assert len(user_ids) == 2
