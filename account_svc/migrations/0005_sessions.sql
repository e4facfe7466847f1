-- Sessions of players, by which their refresh tokens are known.
--
-- One row a session: what of its current refresh token can be checked, and nothing that
-- could be used. It is locked by whoever judges a token by it. A row is removed some days
-- after its session is over, so there is no transaction id for readers that copy.

CREATE TABLE player_session (
    session_id          uuid PRIMARY KEY,
    user_id             uuid NOT NULL REFERENCES player (user_id),
    -- Each next secret is made from the one before it and from this.
    salt                bytea NOT NULL CHECK (octet_length(salt) = 32),
    generation          integer NOT NULL CHECK (generation BETWEEN 0 AND 10000),
    -- SHA-256 of the current secret, and of the keys of the requests that rotated it last, one
    -- after the other, newest first.
    secret_hash         bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    rotation_key_hashes bytea NOT NULL,
    rotated_at          timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    idle_ends_at        timestamptz NOT NULL,
    ends_at             timestamptz NOT NULL CHECK (ends_at > created_at),
    ended_at            timestamptz,
    ending              text CHECK (
        ending IN (
            'logged_out', 'logged_out_everywhere', 'password_changed', 'reused',
            'displaced', 'worn_out'
        )
    ),
    over_at             timestamptz GENERATED ALWAYS AS (
        least(ended_at, idle_ends_at, ends_at)
    ) STORED,
    CONSTRAINT player_session_ends_with_a_reason CHECK ((ended_at IS NULL) = (ending IS NULL)),
    CONSTRAINT player_session_was_given_by_a_rotation CHECK (
        octet_length(rotation_key_hashes) = 32 * least(generation, 16)
    )
);
CREATE INDEX player_session_of_user ON player_session (user_id, over_at);
CREATE INDEX player_session_over_at ON player_session (over_at);

CREATE FUNCTION refuse_revival() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: an ended session stays ended, and no token becomes current again', TG_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER player_session_goes_forward BEFORE UPDATE ON player_session FOR EACH ROW
    WHEN (
        OLD.ended_at IS NOT NULL
        OR NEW.generation NOT IN (OLD.generation, OLD.generation + 1)
        OR NEW.salt <> OLD.salt
        OR NEW.user_id <> OLD.user_id
        OR NEW.ends_at <> OLD.ends_at
    )
    EXECUTE FUNCTION refuse_revival();

-- The change of the password that made password_hash what it is, so that repeating it is known.
ALTER TABLE player ADD COLUMN password_change_id uuid;
