ALTER TABLE predictions DROP COLUMN options;
