-- A purchase that is taken back is looked up in the real tables: a temporary table of that name stood in
-- for one, and the rule held for what its maker had written into it.

ALTER FUNCTION require_credited_purchase SET search_path = public, pg_temp;
