-- depends: 0016_course
-- Where the end of a prediction is told, without what a URL keeps secret, and why it could not be; of rows from before
-- neither is known. What gateways may see of callbacks that are still due is a view: the URLs themselves are for persisters.
SET LOCAL lock_timeout = '5s';

ALTER TABLE predictions ADD COLUMN callback text, ADD COLUMN callback_error text;
CREATE VIEW due_callbacks AS SELECT prediction_id, attempt, tries, last_error FROM webhooks;
