"""edgefleet: brings AI models to edge nodes, and back, on evidence."""
