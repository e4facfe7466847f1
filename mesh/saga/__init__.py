"""Sagas: work in several steps over what cannot be locked together.

A saga is a row of one service's database that says where the work stands. Each step either
asks somebody outside, under a key that makes asking again harmless, or changes this
database, in the transaction that moves the saga on. So a saga can be taken up by anybody
at any moment, whoever died in the middle, and every step takes effect once.

`definition` says what a kind of saga consists of, `log` keeps the rows, `runner` drives them;
`answering` is for the call that began one.
"""
