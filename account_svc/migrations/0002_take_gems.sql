-- The account's part of a batch of pulls, in one round trip and with plans that are kept.
--
-- The caller decides what to make of the answer; at most one debit a player. Plans are
-- made while the tables may still be small, so that they must not scan them.

CREATE FUNCTION take_gems(operation_ids uuid[], user_ids uuid[], amounts bigint[], all_ids uuid[])
RETURNS TABLE (locked text[], applied text[], debited text[], balances bigint[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    locked_ids  uuid[];
    applied_ids uuid[];
BEGIN
    SELECT array_agg(held.user_id) INTO locked_ids FROM (
        SELECT user_id FROM wallet WHERE user_id = ANY(user_ids)
        ORDER BY user_id FOR UPDATE SKIP LOCKED
    ) AS held;
    -- After the lock, and with a snapshot of its own: an operation that just committed is seen.
    SELECT coalesce(array_agg(operation_id), '{}') INTO applied_ids
    FROM ledger WHERE operation_id = ANY(all_ids);
    WITH changed AS (
        UPDATE wallet SET balance = wallet.balance - debit.amount,
                          entry_count = wallet.entry_count + 1
        FROM unnest(operation_ids, user_ids, amounts) AS debit (operation_id, user_id, amount)
        WHERE wallet.user_id = debit.user_id
          AND wallet.user_id = ANY(locked_ids) AND debit.operation_id <> ALL(applied_ids)
          AND wallet.balance >= debit.amount
        RETURNING wallet.user_id, wallet.entry_count, wallet.balance,
                  debit.operation_id, debit.amount
    ), entered AS (
        INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)
        SELECT user_id, entry_count, operation_id, 'pull', -amount, balance FROM changed
        RETURNING operation_id, balance_after
    )
    SELECT array_agg(operation_id::text), array_agg(balance_after)
    INTO debited, balances FROM entered;
    locked := locked_ids;
    applied := applied_ids;
    RETURN NEXT;
END $$;
