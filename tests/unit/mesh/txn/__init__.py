"""The protocol as a state machine: its real code over a model of two databases.

`loop` is time and turns, moved by hand; `wire` the messages, of which each is delivered,
lost, repeated or late by somebody's choice; `databases` what PostgreSQL gives and no more;
`house` all of it with real coordinators and recoverers; `invariants` what must hold. On
these stand `machine`, where hypothesis chooses, and the dialogues, where a file does.
"""
