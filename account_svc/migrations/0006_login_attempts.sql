-- Failed attempts to log in, by account, by address, and by both together.
--
-- Who is counted, and what follows from it, says account_svc/domain/login_attempts.py.
-- account_hash is SHA-256 of the lower-cased username, address_hash that of the IPv4 address
-- or of the IPv6 /64 as '2001:db8::/64'; an empty one stands for any. Nothing here is worth
-- a wait for the disk: the transactions that write it are committed asynchronously.

CREATE TABLE login_attempt (
    account_hash   bytea NOT NULL CHECK (octet_length(account_hash) IN (0, 32)),
    address_hash   bytea NOT NULL CHECK (octet_length(address_hash) IN (0, 32)),
    failure_count  integer NOT NULL DEFAULT 0 CHECK (failure_count >= 0),
    last_failed_at timestamptz NOT NULL DEFAULT 'epoch',
    -- Until when the address is one where the account logged in.
    known_until    timestamptz NOT NULL DEFAULT 'epoch',
    -- When the row says nothing any more and may go.
    forget_at      timestamptz NOT NULL DEFAULT 'epoch',
    PRIMARY KEY (account_hash, address_hash),
    CONSTRAINT login_attempt_is_somebodys CHECK (account_hash <> '' OR address_hash <> ''),
    CONSTRAINT login_attempt_of_a_pair_is_known CHECK (
        known_until = 'epoch' OR (account_hash <> '' AND address_hash <> '')
    )
) WITH (fillfactor = 80);
CREATE INDEX login_attempt_forget_at ON login_attempt (forget_at);

-- For operators: who has failed within the last hour, as many as wait and more.
CREATE FUNCTION failed_logins()
RETURNS TABLE (kind text, subject_count bigint, most_failures integer) LANGUAGE sql STABLE AS $$
    SELECT
        CASE WHEN account_hash = '' THEN 'address' WHEN address_hash = '' THEN 'account' ELSE 'pair' END,
        count(*),
        max(failure_count)
    FROM login_attempt
    WHERE failure_count > 0 AND last_failed_at > now() - interval '1 hour'
    GROUP BY 1 ORDER BY 1
$$;

-- The failures of an account, by its username in any case.
CREATE FUNCTION login_attempts_of(username text)
RETURNS TABLE (kind text, failure_count integer, last_failed_at timestamptz, known_until timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT
        CASE WHEN address_hash = '' THEN 'account' ELSE 'pair' END,
        CASE WHEN last_failed_at > now() - interval '1 hour' THEN failure_count ELSE 0 END,
        nullif(last_failed_at, 'epoch'),
        nullif(known_until, 'epoch')
    FROM login_attempt
    WHERE account_hash = sha256(convert_to(lower(username), 'UTF8'))
    ORDER BY address_hash
$$;

-- Lets the account log in again, wherever it waits; its addresses stay known. Returns how many
-- of its subjects had failures.
CREATE FUNCTION forgive_login_attempts(username text) RETURNS bigint
LANGUAGE sql AS $$
    WITH forgiven AS (
        UPDATE login_attempt
        SET failure_count = 0, last_failed_at = 'epoch', forget_at = known_until
        WHERE account_hash = sha256(convert_to(lower(username), 'UTF8')) AND failure_count > 0
        RETURNING 1
    )
    SELECT count(*) FROM forgiven
$$;
