"""A page on this machine to review doubtful labels by keyboard, which learns from each decision."""
