DROP FUNCTION make_predictions_partition(date);
