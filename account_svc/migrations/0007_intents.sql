-- The id that the attempts at one purchase share gets a name of its own, for request id is
-- the client's name for an HTTP request. The constraint follows the column.

ALTER TABLE purchase RENAME COLUMN request_id TO intent_id;
