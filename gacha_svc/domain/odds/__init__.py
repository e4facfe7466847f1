"""The odds that players are told, computed from the rules that pulls are drawn by."""
