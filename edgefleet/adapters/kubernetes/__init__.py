"""A factory as a Kubernetes cluster: Deployments, Jobs, and what the nodes answer themselves."""
