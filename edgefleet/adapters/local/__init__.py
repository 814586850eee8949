"""A fleet on this machine: real edge-server processes under a supervisor, several factories.

The supervisor stands in for kubelet and API server: orders are level-triggered, its state is on
disk, and the servers outlive it. What it does not stand in for: a second machine's clock, memory
limits per node, and the wire of a pod network.
"""
