"""Fees for gifts, which the gacha service asks for; with the rooms of a service."""
