"""What the tests talk to: a scripted server, nginx, httpbin, and the certificates of all three."""
