"""Items, banners, odds and pulls; hosts the coordinator of every pull."""
