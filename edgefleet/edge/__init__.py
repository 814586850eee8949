"""What runs on a node: the inference server, its evidence, its own checks."""
