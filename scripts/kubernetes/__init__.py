"""What is made for Kubernetes: the plain manifests from the chart, the schema and the table of the chart's values."""
