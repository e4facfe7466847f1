-- take_gems keeps generic plans, as the functions of a draw do. With arrays of one entry PostgreSQL
-- made four plans for each call, because it takes a generic one to be dearer; for a lone pull, making
-- the plans cost more than to run them.

ALTER FUNCTION take_gems SET plan_cache_mode = force_generic_plan;
