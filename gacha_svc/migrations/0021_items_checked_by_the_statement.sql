-- That each item has its pull is checked once for all rows of a statement.
--
-- A foreign key checked it by a query and a lock for each item, a tenth of what a batch of pulls cost
-- the server. It also kept pulls with items from going. Now no pull goes or gets another id, and no item
-- gets another pull.

ALTER TABLE pull_item DROP CONSTRAINT pull_item_pull_id_fkey;

CREATE TRIGGER pull_stays BEFORE DELETE ON pull
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();
CREATE TRIGGER pull_keeps_its_id BEFORE UPDATE ON pull FOR EACH ROW
    WHEN (NEW.pull_id <> OLD.pull_id) EXECUTE FUNCTION refuse_change_of_history();
CREATE TRIGGER pull_item_keeps_its_pull BEFORE UPDATE ON pull_item FOR EACH ROW
    WHEN (NEW.pull_id <> OLD.pull_id) EXECUTE FUNCTION refuse_change_of_history();

-- The plan may be made while the table is still small, so that it must not scan it. The table is named
-- with its schema, so that no temporary table stands in for it.
CREATE FUNCTION require_pulls() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added
        WHERE (SELECT pull_id FROM public.pull WHERE pull.pull_id = added.pull_id) IS NULL
    ) THEN
        RAISE EXCEPTION '%: an item needs its pull', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER pull_item_has_its_pull AFTER INSERT ON pull_item REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION require_pulls();
