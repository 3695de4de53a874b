DROP TABLE model_versions;
DROP TABLE models;
