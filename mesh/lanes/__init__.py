"""Many calls between two processes in one stream: mesh.v1.LaneService.

What is guaranteed, on both sides together:

- A call on a lane ends as it would have by itself: the same authentication,
  limits, deadline, errors and details, cancellation included.
- A call leaves at once when the lane is idle, and otherwise with the message
  that follows the one being written. No timer holds anything back.
- A call is sent at most once. When a lane breaks, it is known of each call
  whether it may have arrived (`ConnectionBroken.was_sent`).
- Everything is bounded: a message, what waits for being sent, what the server
  takes on before its replies are read. What is too large fails alone.
- A server that leaves answers every call that it was sent.

`transport` is the client's side over all addresses, `lane` one lane of it,
`service` the server's side; `outbox` is what both gather in, `limits` the bounds.
"""
