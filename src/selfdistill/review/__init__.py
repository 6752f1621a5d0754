"""A page on this machine to settle doubtful labels by keyboard, which learns from each decision."""
