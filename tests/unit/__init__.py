"""One module or room at a time, in process; whole exchanges of the protocol to read are in
`tests/unit/mesh/txn/dialogues/`."""
