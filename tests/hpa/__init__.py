"""The autoscaling of Millstream without a cluster: the Kubernetes HPA's arithmetic, prometheus-adapter's queries, and a
simulation of both over a traffic trace with the targets that k8s/hpa.yaml ships."""
