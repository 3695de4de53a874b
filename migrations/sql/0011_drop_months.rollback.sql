DROP FUNCTION drop_predictions_partition(date, integer[]);
