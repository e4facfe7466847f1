-- Only what is in force becomes history, at the time at which it does: gacha_svc adds rows to
-- banner_history by this function alone, which runs with its owner's privileges.

ALTER FUNCTION record_banners SECURITY DEFINER SET search_path = public, pg_temp;
REVOKE EXECUTE ON FUNCTION record_banners FROM PUBLIC;
