"""The pictures of the README, taken with headless Chromium from runs on the local grid."""
