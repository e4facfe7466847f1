-- A repeated registration is recognized by the digest of its request: SHA-256 of username and
-- email as they were sent, with a line feed between them. The password is not in it.

ALTER TABLE player ADD COLUMN registration_digest bytea
    CHECK (octet_length(registration_digest) = 32);
UPDATE player SET registration_digest = sha256(convert_to(username || E'\n' || email, 'UTF8'));
ALTER TABLE player ALTER registration_digest SET NOT NULL;
