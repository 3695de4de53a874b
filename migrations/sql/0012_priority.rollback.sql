ALTER TABLE predictions DROP COLUMN priority;
