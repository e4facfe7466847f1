"""The gacha engine and its rules; pure."""
