"""Makes the payloads' container images from what this machine has: no registry, no base image."""
