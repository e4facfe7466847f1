"""The gacha engine: draws, pity, odds and the catalog."""
