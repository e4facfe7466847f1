"""Sagas: work in several steps across systems that cannot share a transaction.

A saga is a row in one service's database that stores the state of the work. Each step either
calls an outside system, with a key that makes a repeat harmless, or changes this database in
the same transaction that moves the saga on. Any instance can therefore continue a saga at any
time, whichever process died, and every step takes effect once.

`definition` describes a kind of saga, `rows` stores them, `runner` drives them, `turns` and
`places` say whose is driven next, `answering` serves the call that began one, and `retention`
removes those that ended long ago.
"""
