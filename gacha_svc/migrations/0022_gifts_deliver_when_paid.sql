-- A gift is delivered in the step that takes its fee. One whose fee was taken already takes that
-- step again: the account service answers with the stored outcome of the fee.

UPDATE saga SET state = 'RESERVED' WHERE kind = 'gift' AND state = 'CHARGED';
