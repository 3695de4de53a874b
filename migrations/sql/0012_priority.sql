-- depends: 0011_drop_months
-- With which priority a prediction was queued. With a constant default, adding the column takes no time.
SET LOCAL lock_timeout = '5s';

ALTER TABLE predictions ADD COLUMN priority varchar(20) NOT NULL DEFAULT 'interactive';
