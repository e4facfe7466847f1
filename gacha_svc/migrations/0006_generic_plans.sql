-- The functions of a draw keep generic plans. With arrays of one entry PostgreSQL makes a plan
-- for each call, because it takes a generic one to be dearer; for a lone pull, making the plan
-- costs more than to run it.

ALTER FUNCTION lock_draws SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION record_draws SET plan_cache_mode = force_generic_plan;
