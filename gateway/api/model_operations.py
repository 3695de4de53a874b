"""The part of the table of operations that is about models, their versions and experiments."""

from __future__ import annotations

from gateway.api import experiment_schemas, experiments, model_admin, model_schemas, models, parameters, schemas
from gateway.core.principal import Scope
from gateway.http.openapi import Operation

_EXPERIMENT = "/api/v1/models/{name}/experiment"

MODEL_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET", "/api/v1/models", models.list_models, tuple(Scope), "List models", {200: schemas.ModelList}, (422, 503)
    ),
    Operation(
        "GET",
        "/api/v1/models/{name}",
        models.read_model,
        tuple(Scope),
        "Read one model",
        {200: schemas.ModelInfo},
        (404, 422, 503),
        parameters=(parameters.NAME,),
    ),
    Operation(
        "PUT",
        _EXPERIMENT,
        experiments.start_experiment,
        (Scope.ADMIN,),
        "Start an experiment between versions of a model",
        {200: experiment_schemas.ExperimentInfo},
        (400, 404, 408, 413, 415, 422, 503),
        experiment_schemas.ExperimentBody,
        parameters=(parameters.NAME,),
    ),
    Operation(
        "GET",
        _EXPERIMENT,
        experiments.read_experiment,
        (Scope.READ_ALL, Scope.ADMIN),
        "Read the experiment of a model that runs, or else the last one",
        {200: experiment_schemas.ExperimentInfo},
        (404, 422, 503),
        parameters=(parameters.NAME,),
    ),
    Operation(
        "DELETE",
        _EXPERIMENT,
        experiments.stop_experiment,
        (Scope.ADMIN,),
        "Stop the experiment of a model",
        {204: None},
        (404, 422, 503),
        parameters=(parameters.NAME,),
    ),
    Operation(
        "GET",
        f"{_EXPERIMENT}/results",
        experiments.read_results,
        (Scope.READ_ALL, Scope.ADMIN),
        "Results of the experiment of a model that runs, or else of the last one",
        {200: experiment_schemas.ExperimentResults},
        (404, 422, 503),
        parameters=(parameters.NAME,),
    ),
    Operation(
        "POST",
        "/api/v1/models/{name}/versions",
        model_admin.register_version,
        (Scope.ADMIN,),
        "Register a version of a model, inactive; of a new model with its task and description",
        {200: schemas.ModelInfo, 201: schemas.ModelInfo},
        (400, 404, 408, 409, 413, 415, 422, 503),
        model_schemas.NewVersionBody,
        parameters=(parameters.NAME,),
    ),
    Operation(
        "POST",
        "/api/v1/models/{name}/versions/{version}/activate",
        model_admin.activate_version,
        (Scope.ADMIN,),
        "Make a version active: workers load it, and requests may name it",
        {200: schemas.ModelInfo},
        (404, 409, 422, 503),
        parameters=(parameters.NAME, parameters.VERSION),
    ),
    Operation(
        "POST",
        "/api/v1/models/{name}/versions/{version}/deactivate",
        model_admin.deactivate_version,
        (Scope.ADMIN,),
        "Make a version inactive: what waits for it is computed, then workers unload it",
        {200: schemas.ModelInfo},
        (404, 409, 422, 503),
        parameters=(parameters.NAME, parameters.VERSION),
    ),
    Operation(
        "DELETE",
        "/api/v1/models/{name}/versions/{version}",
        model_admin.delete_version,
        (Scope.ADMIN,),
        "Delete a version that was registered, is inactive, and that nothing waits for",
        {204: None},
        (404, 409, 422, 503),
        parameters=(parameters.NAME, parameters.VERSION),
    ),
    Operation(
        "PUT",
        "/api/v1/models/{name}/default",
        model_admin.set_default,
        (Scope.ADMIN,),
        "Make a version the default, which a live worker must serve",
        {200: schemas.ModelInfo},
        (400, 404, 408, 409, 412, 413, 415, 422, 428, 503),
        model_schemas.DefaultBody,
        parameters=(parameters.NAME, parameters.IF_MATCH),
    ),
)
