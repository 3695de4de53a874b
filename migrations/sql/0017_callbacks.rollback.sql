DROP VIEW due_callbacks;
ALTER TABLE predictions DROP COLUMN callback, DROP COLUMN callback_error;
