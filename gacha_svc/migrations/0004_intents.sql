-- The id that the attempts at one gift share gets a name of its own, for request id is
-- the client's name for an HTTP request. The constraint follows the column.

ALTER TABLE gift RENAME COLUMN request_id TO intent_id;
