"""Bodies: what goes out is encoded here, what comes in is decoded."""
