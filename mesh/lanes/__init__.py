"""Lanes: many calls between two processes share one stream (mesh.v1.LaneService).

Both sides together guarantee:

- A call on a lane has the same authentication, limits, deadline, errors and details as a
  unary call, and can be cancelled.
- A call is sent at once if the lane is idle, and otherwise in the message after the one
  being written. There is no timer.
- A call is sent at most once. When a lane breaks, each call's error says whether the request
  may have arrived (`ConnectionBroken.was_sent`).
- Everything is bounded: the size of a message, the queue of unsent calls, and the calls and
  replies that the server holds. A call that is too large fails alone.
- A draining server still answers every call that it received.

`transport` is the client's side for all addresses and `lane` is one lane of it; `service` is
the server's side and `served` is one lane of it. Both sides queue in an `outbox`; `limits` has
the bounds.
"""
