"""What is done to a model before it ships: quantize, evaluate, package, sign."""
