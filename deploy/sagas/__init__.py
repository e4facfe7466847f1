"""The operator's view of sagas: what is under way, what is parked, and trying it again."""
