-- Counts the changes of the password. A login compares it under the player's lock, because the
-- hash alone may change too: it is renewed when the parameters of hashes do.
ALTER TABLE player
    ADD COLUMN password_version integer NOT NULL DEFAULT 0 CHECK (password_version >= 0);
