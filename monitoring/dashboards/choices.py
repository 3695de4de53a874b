"""Variables and thresholds that several dashboards share."""

from __future__ import annotations

from monitoring.dashboards.panels import Steps, variable

ANY_IS_BAD: Steps = ((None, "green"), (1, "red"))
NONE_IS_BAD: Steps = ((None, "red"), (1, "green"))

MODEL = variable("model", "label_values(millstream_workers_live, model)", "models to show")
VERSION = variable("version", 'label_values(millstream_workers_live{model=~"$model"}, version)', "versions to show")
MODEL_ONLY = variable("model", "label_values(millstream_workers_live, model)", "models to show in the panels by model")
