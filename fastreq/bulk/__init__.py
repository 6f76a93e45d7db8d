"""Many requests, and large ones: `map`, `download`, and what `fetch` and `fan_out` need."""
