"""The protocol as a state machine: its real code over a model of two databases.

`loop` is an event loop that the test drives. `wire` delivers, loses, repeats or delays each
message as the test chooses. `databases` is a model of PostgreSQL with only its guarantees.
`simulation` joins them with real coordinators and recoverers. `invariants` has the checks.
hypothesis chooses the events in `machine`, and a file does in the dialogues.
"""
