-- A gift keeps the item's name and rarity as they were when it was sent, as a pull does: a
-- repeated request gets its first answer, also after the catalog has renamed the item.

ALTER TABLE gift
    ADD COLUMN item_name   text,
    ADD COLUMN item_rarity text CHECK (item_rarity IN ('rare', 'super rare', 'ultra rare'));
UPDATE gift SET item_name = item.name, item_rarity = item.rarity
FROM item WHERE item.item_id = gift.item_id;
ALTER TABLE gift ALTER item_name SET NOT NULL, ALTER item_rarity SET NOT NULL;
