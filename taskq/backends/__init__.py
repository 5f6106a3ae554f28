"""Result backends: where task states and results are kept."""
